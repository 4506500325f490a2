"""Pictures that take long: nobody else waits for them, and nobody has all of the places."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.pictures.tiles import HeatmapTiles
from service.pictures.viewing import Viewing
from service.reader_pool import ReaderPool
from tests.service.api.harness import Api, Workshop
from wsi.geometry import Box
from wsi.readers.array import ArraySlide

SIDE = 4096
DEEPEST = 12


class Gate:
    """Who is inside waits until it opens; `most`: how many were inside at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._is_open = 0, False
        self.most = 0

    def pass_through(self) -> None:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._is_open, 60)
            self._inside -= 1

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._inside >= count, 60)

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


class GatedSlide(ArraySlide):
    """4096 px a side, that nothing can be read of before the gate opens."""

    failure = None

    def __init__(self, gate: Gate, side: int = SIDE) -> None:
        super().__init__([np.broadcast_to(np.uint8(200), (side, side, 3))])
        self._gate = gate

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        self._gate.pass_through()
        return super()._read_inside(level, box)


class GatedHeatmaps(HeatmapTiles):
    def __init__(self, gate: Gate) -> None:
        super().__init__(1 << 20)
        self._gate = gate

    def picture(self, *asked: Any) -> bytes:
        self._gate.pass_through()
        return super().picture(*asked)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def show(api: Api, slides: dict[str, ArraySlide]) -> None:
    """Has these in the place of files, by the id; any other is one without a gate."""
    opened = Gate()
    opened.open()

    def open_path(path: str, _: object) -> Any:
        return slides.get(Path(path).parent.name, GatedSlide(opened))

    api.service.viewing.close()
    api.service.viewing = Viewing(
        api.settings,
        api.service.library,
        api.service.shelf,
        readers=ReaderPool(open_path=open_path),
    )


def tiles_of(api: Api, slide: str, count: int, **options: Any) -> "list[Future[httpx.Response]]":
    urls = (
        f"/v1/slides/{slide}/slide_files/{DEEPEST}/{i % 16}_{i // 16}.jpeg" for i in range(count)
    )
    return [api.ask("GET", url, **options) for url in urls]


def test_slow_slide_pictures_keep_nothing_else_from_being_answered(api: Api, gate: Gate) -> None:
    """More of them than there are threads for all other requests."""
    slow = api.upload(0)
    show(api, {slow: GatedSlide(gate)})
    asked = tiles_of(api, slow, 60)
    gate.wait_for(4)
    assert api.get("/v1/slides").status_code == 200
    other = api.upload(1)
    (tile,) = tiles_of(api, other, 1)
    assert tile.result(30).status_code == 200
    gate.open()
    assert {each.result(60).status_code for each in asked} == {200}
    assert gate.most == 4


def test_slow_slides_of_a_tenant_leave_another_its_own(api: Api, gate: Gate) -> None:
    slow = [api.upload(seed, tenant="a") for seed in (0, 1)]
    show(api, {slide: GatedSlide(gate) for slide in slow})
    asked = [each for slide in slow for each in tiles_of(api, slide, 20, tenant="a")]
    gate.wait_for(6)
    other = api.upload(2, tenant="b")
    (tile,) = tiles_of(api, other, 1, tenant="b")
    assert tile.result(30).status_code == 200
    gate.open()
    assert {each.result(60).status_code for each in asked} == {200}
    assert gate.most == 6


def test_whole_heatmaps_are_made_few_at_once(api: Api, gate: Gate) -> None:
    url = api.finished()["links"]["result"]
    api.service.viewing.heatmaps = GatedHeatmaps(gate)
    asked = [api.ask("GET", f"{url}/heatmap.png?threshold=0.{i}") for i in range(1, 10)]
    gate.wait_for(2)
    assert api.get(f"{url}/tiles/0/0/0.png").status_code == 200
    gate.open()
    assert {each.result(60).status_code for each in asked} == {200}
    assert gate.most == 2


def test_picture_of_too_much_of_a_slide_is_refused_and_parts_of_it_are_not(api: Api) -> None:
    """9000 px a side are 81 Mpx, and a quarter of them 20."""
    slide, gate = api.upload(), Gate()
    gate.open()
    show(api, {slide: GatedSlide(gate, 9000)})
    base = f"/v1/slides/{slide}"
    whole = [api.get(f"{base}/{name}") for name in ("thumbnail.jpg", "slide_files/8/0_0.jpeg")]
    assert [answer.status_code for answer in whole] == [422, 422]
    assert {answer.json()["type"] for answer in whole} == {"/problems/picture-too-large"}
    assert "81 Mpx of level 0 (limit 67)" in whole[0].json()["detail"]
    assert api.get(f"{base}/slide_files/10/0_0.jpeg").status_code == 200


def test_nothing_is_made_for_a_client_that_has_gone(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data") as api:
        slide, gate = api.upload(), Gate()
        show(api, {slide: GatedSlide(gate)})
        assert api.get(f"/v1/slides/{slide}").status_code == 200
        gone: list[dict[str, Any]] = [
            {"type": "http.request", "body": b"", "more_body": False},
            {"type": "http.disconnect"},
        ]
        address = f"/v1/slides/{slide}/slide_files/{DEEPEST}/3_3.jpeg"
        status = api.run(ask_plainly(api, address, gone))
    assert (status, gate.most) == (400, 0)  # the status that nobody reads


async def ask_plainly(api: Api, path: str, messages: list[dict[str, Any]]) -> int:
    """The status of a GET of which the server receives just these messages."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "query_string": b"",
        "headers": [(b"host", b"wsi.test")], "scheme": "http", "root_path": "",
    }  # fmt: skip
    await api.app(scope, receive, send)
    return int(sent[0]["status"])
