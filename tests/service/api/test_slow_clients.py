"""GeoJSON made anew, for clients that take their time."""

import asyncio
import gc
import gzip
from typing import Any

import pytest

from service.web import spools
from tests.service.api.harness import Api
from wsi.export.source import ExportSource

QUERY = b"threshold=0.25"


class SlowClient:
    """Takes its answer up to the first message `until`, of which `asked` tells, and all once `go`
    is set. For the application's loop."""

    def __init__(self, until: str) -> None:
        self.until, self.asked, self.go = until, asyncio.Event(), asyncio.Event()
        self.messages: list[dict[str, Any]] = []

    async def ask(self, api: Api, path: str) -> None:
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": path,
            "query_string": QUERY, "headers": [(b"host", b"wsi.test")], "scheme": "http",
            "root_path": "",
        }  # fmt: skip
        await api.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if not self.messages:
            self.messages.append({})
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == self.until and not self.go.is_set():
            self.asked.set()
            await self.go.wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


async def make_client(until: str) -> SlowClient:
    return SlowClient(until)


def path_of(api: Api) -> str:
    return f"{api.finished()['links']['result']}/heatmap.geojson"


def test_a_client_that_reads_slowly_keeps_no_scores_in_memory(api: Api) -> None:
    path = path_of(api)
    folders = sorted((api.data / "results").iterdir())
    client = api.run(make_client("http.response.start"))
    asked = api.start(client.ask(api, path))
    api.run(client.asked.wait())
    gc.collect()
    # isinstance() asks objects for their __class__, and torch has one that warns then
    held = [each for each in gc.get_objects() if type(each) is ExportSource]
    left = sorted((api.data / "results").iterdir())
    api._loop.call_soon_threadsafe(client.go.set)
    asked.result(30)
    assert held == []
    assert left == folders
    assert client.body == api.get(f"{path}?{QUERY.decode()}").content


def test_a_client_that_stops_reading_is_left(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its body never ends, by which the server knows that the connection is to be closed."""
    monkeypatch.setattr(spools, "STALL_S", 0)
    monkeypatch.setattr(spools, "SENT", spools.Shares(1, 1))
    path, client = path_of(api), api.run(make_client("http.response.body"))
    api.run(client.ask(api, path))
    assert client.body == b""
    assert client.messages[-1]["type"] == "http.response.start"
    monkeypatch.setattr(spools, "STALL_S", 60)
    assert api.get(f"{path}?{QUERY.decode()}").status_code == 200


def test_geojson_made_anew_is_the_same_bytes_each_time_and_in_each_coding(api: Api) -> None:
    url = f"{path_of(api)}?{QUERY.decode()}"
    packed = api.get(url, headers={"Accept-Encoding": "gzip"})
    plain = api.get(url, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert packed.headers["etag"] != plain.headers["etag"]
    files = [api.get(url.replace(".geojson", ".geojson.gz")) for _ in range(2)]
    assert files[0].content == files[1].content
    assert int(files[0].headers["content-length"]) == len(files[0].content)
    assert gzip.decompress(files[0].content) == plain.content
