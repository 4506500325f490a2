"""What no honest client sends."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import NotAuthenticated
from service.web.middleware import Edge
from tests.service.api.harness import Api, Workshop
from tests.service.api.live import raw_exchange, served
from tests.service.postgresql import cluster, fresh_database


@pytest.fixture(scope="module")
def api(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(workshop, tmp_path_factory.mktemp("hostile") / "data") as api:
        yield api


@pytest.mark.parametrize(
    ("path", "digits"),
    [
        ("/v1/results/{}/heatmap_files/{}/0_0.png", 5000),
        ("/v1/results/{}/heatmap_files/0/{}_0.png", 5000),
        ("/v1/results/{}/tiles/{}/0/0.png", 100),
        ("/v1/slides/{}/slide_files/0/0_{}.jpeg", 5000),
    ],
)
def test_tile_of_an_endless_number_does_not_exist(api: Api, path: str, digits: int) -> None:
    assert api.get(path.format("any", "9" * digits)).status_code == 404


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_id_with_a_nul_is_refused_and_no_crash(
    workshop: Workshop, tmp_path: Path, database: str
) -> None:
    """PostgreSQL's texts cannot hold one."""
    url = fresh_database(cluster()) if database == "postgresql" else None
    with Api(workshop, tmp_path / "data", database_url=url) as api:
        things = ["jobs/%00", "slides/%00", "results/%00", "batches/%00", "slides/%00/slide.dzi"]
        paths = [*things, "results/%00/tiles/0/0/0.png", "jobs?cursor=%00", "jobs/%00/events"]
        statuses = [
            *(api.get(httpx.URL("http://wsi.test", raw_path=b"/v1/" + path.encode())).status_code
              for path in paths),
            api.post("/v1/jobs", json={"slide_id": "\0"}).status_code,
            api.post("/v1/batches", json={"slides": ["\0"]}).status_code,
        ]  # fmt: skip
    assert {*statuses} <= {400, 404}


def test_form_with_an_endless_boundary_is_refused(api: Api) -> None:
    kind = f"multipart/form-data; boundary={'x' * 3000}"
    answer = api.post("/v1/heatmaps", content=b"--x", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-request")


def test_nobody_is_sent_to_a_host_that_a_client_names(api: Api) -> None:
    answer = api.get("/v1/jobs/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches"])
def test_body_of_somebody_without_a_key_is_not_read(
    api: Api, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else anybody could send a megabyte, and learn what is wrong with it."""

    def refuse(_request: Any) -> Any:
        raise NotAuthenticated("no key")

    monkeypatch.setattr(api.service, "authenticate", refuse)
    assert api.post(path, content=b"no JSON").status_code == 401
    with served(api) as url:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += "Content-Length: 9\r\n\r\n"
        assert b" 401 " in raw_exchange(url, head.encode(), half_close=False)


def test_body_that_stops_coming_counts_as_a_client_that_has_gone() -> None:
    """For ten milliseconds; after its end there is no limit."""
    got: list[str] = []

    async def read(_scope: Any, receive: Any, _send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            got.append("more" if message["more_body"] else "end")
        got.append("gone" if message.get("late") else "given up")

    def pieces(*more: bool) -> Any:
        left = list(more)

        async def receive() -> dict[str, Any]:
            if not left:
                await asyncio.sleep(0.1)
                return {"type": "http.disconnect", "late": True}
            return {"type": "http.request", "body": b"x", "more_body": left.pop(0)}

        return receive

    for more in (True, False):
        scope = {"type": "http", "headers": [], "path": "/"}
        asyncio.run(Edge(read, 0.01)(scope, pieces(more), None))  # type: ignore[arg-type]
    assert got == ["more", "given up", "end", "gone"]


def test_slide_that_drips_is_given_up() -> None:
    """Never quiet for as long as nothing may come, and yet too slow."""
    from service.errors import UploadStalled
    from service.storage.reception import _blocks

    async def drip() -> Any:
        while True:
            await asyncio.sleep(0.002)
            yield b"x"

    async def read() -> None:
        async for _ in _blocks(drip(), 0.02):
            pass

    with pytest.raises(UploadStalled):
        asyncio.run(asyncio.wait_for(read(), 20))
