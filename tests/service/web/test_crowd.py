"""More requests at once than the service answers."""

import asyncio
from typing import Any

import httpx

from service.app import App
from service.operations.metrics import Metrics
from service.web.crowd import Crowd


class Slow:
    """Answers once it is let go; `asked` is set when a request has come."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.set()
        if scope["path"] == "/slow":
            await self.go.wait()
        if scope["path"] == "/broken":
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def test_what_is_too_many_is_told_when_to_come_again_and_probes_are_answered() -> None:
    async def ask() -> tuple[list[int], httpx.Response]:
        slow = Slow()
        async with client_of(Crowd(slow, most=1)) as client:
            first = asyncio.create_task(client.get("/slow"))
            await slow.asked.wait()
            refused = await client.get("/v1/jobs")
            probes = [(await client.get(path)).status_code for path in ("/livez", "/metrics")]
            slow.go.set()
            after = [(await first).status_code, (await client.get("/v1/jobs")).status_code]
            return probes + after, refused

    statuses, refused = asyncio.run(ask())
    assert statuses == [200] * 4
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["type"] == "/problems/busy"


def test_a_request_that_fails_leaves_its_room() -> None:
    async def ask() -> list[int]:
        async with client_of(Crowd(Slow(), most=1)) as client:
            return [(await client.get(path)).status_code for path in ("/broken", "/broken", "/ok")]

    assert asyncio.run(ask()) == [500, 500, 200]


def test_the_application_has_the_limit_inside_its_edge() -> None:
    """So that the answer has an id, and a page on another site may read it."""
    app = App()
    app.state.metrics = Metrics()
    app.most_requests, app.cors_origins = 0, ("https://viewer.example",)

    async def ask() -> httpx.Response:
        async with client_of(app) as client:
            return await client.get("/v1/jobs", headers={"Origin": "https://viewer.example"})

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
