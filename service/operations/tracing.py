"""OpenTelemetry traces: a span a request, sent by OTLP over HTTP. Only where the operator wants it.

Our own middleware, because the usual one puts addresses with ids and tokens, and the messages of
errors, into its spans. One of these holds method, route, status and request id, and nothing that a
client wrote but its trace context (W3C).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InvalidRequest
from wsi import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

__all__ = ["Traced", "Tracing"]

PATH = "/v1/traces"
EXPORT_S = 5.0  # a collector that does not answer must not hold up the end of the process
UNTRACED = ("/livez", "/readyz", "/metrics")
"""Asked every few seconds, by machines."""


class Tracing:
    """Of one application. close() sends what is left."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer("service", __version__)

    @classmethod
    def to_collector(cls, endpoint: str) -> "Tracing":
        """endpoint: `http://collector:4318`, with or without /v1/traces.

        Headers for the collector come from OTEL_EXPORTER_OTLP_HEADERS, sampling from
        OTEL_TRACES_SAMPLER, as OpenTelemetry defines them. Raises InvalidRequest.
        """
        if not endpoint.startswith(("http://", "https://")):
            raise InvalidRequest(f"WSI_OTLP_ENDPOINT {endpoint}: use http://HOST:4318, or https://")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise InvalidRequest(
                "WSI_OTLP_ENDPOINT is set and OpenTelemetry is not installed: "
                "pip install 'wsi-heatmap[tracing]'"
            ) from error
        url = endpoint.rstrip("/").removesuffix(PATH) + PATH
        return cls.to_exporter(OTLPSpanExporter(endpoint=url, timeout=EXPORT_S), BatchSpanProcessor)

    @classmethod
    def to_exporter(
        cls, exporter: "SpanExporter", processor: Callable[["SpanExporter"], Any]
    ) -> "Tracing":
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        named = {"service.name": "wsi-heatmap", "service.version": __version__}
        provider = TracerProvider(resource=Resource.create(named))
        provider.add_span_processor(processor(exporter))
        return cls(provider)

    def close(self) -> None:
        self._provider.shutdown()


class Traced:
    """ASGI around the application: continues the caller's trace with a span."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app, self._tracer = app, tracing.tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        parent = self._propagator.extract(dict(Headers(scope=scope)))
        with self._tracer.start_as_current_span(
            scope["method"],
            context=parent,
            kind=SpanKind.SERVER,
            record_exception=False,  # its message may name a file, its trace holds values
            set_status_on_exception=False,
        ) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: "Span") -> None:
        status = 500

        async def give(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, give)
        finally:
            _describe(span, scope, status)


def _describe(span: "Span", scope: Scope, status: int) -> None:
    """By the names of OpenTelemetry's conventions for HTTP servers."""
    from opentelemetry.trace import StatusCode

    route = getattr(scope.get("route"), "path", None)
    if route:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("url.scheme", scope["scheme"])
    span.set_attribute("wsi.request_id", scope.get("state", {}).get("request_id", ""))
    if status >= 500:
        span.set_status(StatusCode.ERROR)
