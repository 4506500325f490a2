"""What Prometheus reads: counts and times by route, jobs by state. No label holds an id."""

import time
from collections.abc import Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_TYPE_LATEST", "Metered", "Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Of one application, in a registry of its own: two applications in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = Counter(
            "wsi_http_requests", "Requests", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "wsi_http_request_seconds",
            "Until the answer was complete",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.open = Gauge("wsi_http_requests_open", "Being answered", registry=self.registry)
        self.received = Counter(
            "wsi_http_received_bytes", "Of bodies of requests", registry=self.registry
        )
        self.sent = Counter("wsi_http_sent_bytes", "Of bodies of answers", registry=self.registry)
        self._jobs = Gauge("wsi_jobs", "That wait and run", ["state"], registry=self.registry)
        self._workers = Gauge("wsi_workers", "With a recent sign of life", registry=self.registry)

    def text(self, depth: Mapping[str, int], workers: int) -> bytes:
        """The exposition. depth: jobs by state; workers: how many are alive."""
        for state, count in depth.items():
            self._jobs.labels(state).set(count)
        self._workers.set(workers)
        return generate_latest(self.registry)


class Metered:
    """ASGI around the application: counts each request under its route's pattern."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics, begun, status = self._metrics, time.perf_counter(), "500"

        async def take() -> Message:
            message = await receive()
            metrics.received.inc(len(message.get("body", b"")))
            return message

        async def give(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            metrics.sent.inc(len(message.get("body", b"")))
            await send(message)

        with metrics.open.track_inprogress():
            try:
                await self._app(scope, take, give)
            finally:
                route = _pattern(scope)
                method = scope["method"] if route != "none" else "ANY"
                metrics.requests.labels(method, route, status).inc()
                metrics.seconds.labels(method, route).observe(time.perf_counter() - begun)


def _pattern(scope: Scope) -> str:
    """/v1/jobs/{job_id}, not the path: ids would make a series each, and name what people asked."""
    return getattr(scope.get("route"), "path", None) or "none"
