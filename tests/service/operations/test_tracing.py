"""Traces: what a span says of a request, and what it must not."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import anyio
import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from service.app import App, create_app
from service.errors import InvalidRequest
from service.operations.tracing import Traced, Tracing
from service.settings import Settings
from service.web.middleware import Edge
from tests.service.painted import write_model

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def spans(
    exporter: InMemorySpanExporter, url: str, headers: dict[str, str] | None = None
) -> list[ReadableSpan]:
    """Of one request to an application with one route, which fails for the slide "bad"."""
    app = FastAPI()

    @app.get("/v1/slides/{slide_id}")
    async def one(slide_id: str) -> str:
        if slide_id == "bad":
            raise RuntimeError("cannot open /srv/patients/Jane Doe.svs")
        return slide_id

    app.get("/livez")(lambda: "ok")
    tracing = Tracing.to_exporter(exporter, SimpleSpanProcessor)
    edge = Edge(Traced(app, tracing))

    async def ask() -> None:
        transport = httpx.ASGITransport(edge, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://wsi.test") as client:
            await client.get(url, headers=headers)

    anyio.run(ask)
    tracing.close()
    return list(exporter.get_finished_spans())


def test_a_span_says_method_route_status_and_request(exporter: InMemorySpanExporter) -> None:
    (span,) = spans(exporter, "/v1/slides/sld_1", {"X-Request-Id": "abc"})
    assert span.name == "GET /v1/slides/{slide_id}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/slides/{slide_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "wsi.request_id": "abc",
    }
    assert span.resource.attributes["service.name"] == "wsi-heatmap"


def test_it_goes_on_with_the_callers_trace(exporter: InMemorySpanExporter) -> None:
    (span,) = spans(exporter, "/v1/slides/a", {"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLER


@pytest.mark.parametrize(
    "url", ["/v1/slides/sld_secret?tk=secret", "/secret?tk=secret", "/v1/slides/bad?tk=secret"]
)
def test_no_id_no_token_and_no_message_of_an_error_leaves(
    exporter: InMemorySpanExporter, url: str
) -> None:
    headers = {"Authorization": "Bearer secret", "Cookie": "secret", "User-Agent": "secret"}
    (span,) = spans(exporter, url, headers)
    told = span.to_json()
    assert "secret" not in told
    assert "Jane" not in told
    assert span.events == ()


def test_a_crash_is_an_error_and_a_refusal_is_none(exporter: InMemorySpanExporter) -> None:
    (crashed,) = spans(exporter, "/v1/slides/bad")
    assert crashed.status.status_code is StatusCode.ERROR
    assert (crashed.attributes or {})["http.response.status_code"] == 500
    (missing,) = spans(InMemorySpanExporter(), "/nowhere")
    assert missing.name == "GET"
    assert missing.status.status_code is StatusCode.UNSET


def test_probes_leave_no_span(exporter: InMemorySpanExporter) -> None:
    assert spans(exporter, "/livez") == []


def test_spans_reach_a_collector_by_http() -> None:
    came: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        tracing = Tracing.to_collector(f"http://127.0.0.1:{server.server_port}/")
        with tracing.tracer.start_as_current_span("GET /v1/jobs"):
            pass
        tracing.close()
        server.shutdown()
        thread.join()
    assert [path for path, _ in came] == ["/v1/traces"]


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="WSI_OTLP_ENDPOINT collector:4318"):
        Tracing.to_collector("collector:4318")


START = """
import json, sys
sys.modules.update({missing})
from service.app import create_app
from service.settings import Settings
try:
    create_app(Settings(otlp_endpoint={endpoint!r}))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print(json.dumps(sorted({{".".join(name.split(".")[:2]) for name in sys.modules}})))
"""


def started(endpoint: str | None, missing: str = "{}") -> list[str]:
    code = START.format(endpoint=endpoint, missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_nothing_of_it_is_imported_unless_it_is_wanted() -> None:
    parts = {"opentelemetry.sdk", "opentelemetry.exporter"}
    assert parts.isdisjoint(started(None))
    assert parts <= {*started("http://127.0.0.1:1")}


def test_the_environment_alone_starts_no_other_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI has traces of its own, which hold the query."""
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    config = create_app(Settings())._telemetry
    assert not any(config[part] for part in ("tracing", "metrics", "logs", "auto_configure"))


def test_without_its_packages_the_extra_is_named() -> None:
    kind, told = started("http://127.0.0.1:1", missing='{"opentelemetry.sdk": None}')
    assert kind == "InvalidRequest"
    assert "pip install 'wsi-heatmap[tracing]'" in told


def test_the_whole_application_traces_its_requests(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    app = create_app(Settings(data=tmp_path, model=write_model(tmp_path / "model")))
    assert isinstance(app, App)
    app.tracing = Tracing.to_exporter(exporter, SimpleSpanProcessor)

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            await client.get("/v1/jobs/job_secret?tk=secret")

    anyio.run(ask)
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /v1/jobs/{job_id}"
    assert (span.attributes or {})["http.response.status_code"] == 404
    assert "secret" not in span.to_json()
