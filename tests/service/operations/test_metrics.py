"""What Prometheus reads."""

import anyio
import httpx
from fastapi import FastAPI, Request
from prometheus_client.parser import text_string_to_metric_families

from service.operations.metrics import Metered, Metrics


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def make_app() -> tuple[Metered, Metrics]:
    app = FastAPI()

    @app.post("/v1/jobs/{job_id}")
    async def one(job_id: str, request: Request) -> int:
        return len(await request.body())

    metrics = Metrics()
    return Metered(app, metrics), metrics


async def ask(app: Metered) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for i in range(3):
            await client.post(f"/v1/jobs/{i}", content=b"12345")
        await client.get("/nowhere/secret")


def test_requests_are_counted_by_route_not_by_id() -> None:
    app, metrics = make_app()
    anyio.run(ask, app)
    found = samples(metrics.text({}, 0))
    labels = frozenset({("method", "POST"), ("route", "/v1/jobs/{job_id}"), ("status", "200")})
    assert found["wsi_http_requests_total", labels] == 3
    assert found["wsi_http_received_bytes_total", frozenset()] == 15
    assert found["wsi_http_sent_bytes_total", frozenset()] >= 3
    assert b"secret" not in metrics.text({}, 0)


def test_jobs_are_counted_by_state_and_workers_in_all() -> None:
    found = samples(Metrics().text({"queued": 3}, 2))
    assert found["wsi_jobs", frozenset({("state", "queued")})] == 3
    assert found["wsi_workers", frozenset()] == 2
