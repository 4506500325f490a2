"""Whose bodies are received and checked when many come; and what a shutdown does not wait for."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.access.auth import Owner
from service.errors import Busy
from service.storage.gatekeeper import Admitted, admit
from service.storage.library import Library, Stored
from service.storage.quota import Quota
from service.storage.reservation import Held
from tests.service.shelving import TENANT, files_of, make_library, make_settings, tiff_bytes
from tests.service.zips import MRXS, pack

LIMIT_S = 30


class HeldGate:
    """Keeps bodies inside until it opens: all, or some."""

    def __init__(self, held: Collection[bytes] | None = None) -> None:
        self._held, self._inside = held, 0
        self._changed, self._is_open = threading.Condition(), False

    def __call__(self, path: Path) -> Admitted:
        if self._held is None or path.read_bytes() in self._held:
            with self._changed:
                self._inside += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_open)
        return admit(path)

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._inside >= count, LIMIT_S)

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


@pytest.fixture
def make_held(data: Path, engine: Engine) -> Iterator[Callable[[HeldGate], Library]]:
    """A library of several tenants behind a gate, which is open at the end."""
    made: list[tuple[Library, HeldGate]] = []

    def make(gate: HeldGate) -> Library:
        library = Library(data, engine, make_settings(data, auth=("keys",)), gate=gate)
        made.append((library, gate))
        return library

    yield make
    for library, gate in made:
        gate.open()
        library.close()


async def send(
    library: Library, tenant: str, body: bytes, begun: asyncio.Event | None = None
) -> Stored:
    async def chunks() -> AsyncIterator[bytes]:
        if begun is not None:
            begun.set()
        yield body

    return await library.receive(tenant, chunks(), media_type=None, content_length=len(body))


def test_an_upload_begins_while_all_that_check_bodies_are_busy(
    make_held: Callable[[HeldGate], Library],
):
    gate = HeldGate()
    library = make_held(gate)

    async def send_beside_others() -> None:
        sent = [
            asyncio.create_task(send(library, f"t{number}", tiff_bytes(seed=number)))
            for number in range(8)
        ]
        await asyncio.to_thread(gate.wait_for, 4)
        begun = asyncio.Event()
        last = asyncio.create_task(send(library, "last", tiff_bytes(), begun))
        try:
            await asyncio.wait_for(begun.wait(), LIMIT_S)
        finally:
            gate.open()
        assert all(stored.created for stored in await asyncio.gather(*sent, last))

    asyncio.run(send_beside_others())


def test_one_tenants_bodies_are_never_all_that_is_checked(
    make_held: Callable[[HeldGate], Library],
):
    bodies = [tiff_bytes(seed=number) for number in range(6)]
    gate = HeldGate(bodies)
    library = make_held(gate)

    async def send_beside_a_greedy_tenant() -> None:
        sent = [asyncio.create_task(send(library, "greedy", body)) for body in bodies]
        await asyncio.to_thread(gate.wait_for, 2)
        try:
            other = send(library, "other", tiff_bytes(seed=9))
            assert (await asyncio.wait_for(other, LIMIT_S)).created
        finally:
            gate.open()
        assert all(stored.created for stored in await asyncio.gather(*sent))

    asyncio.run(send_beside_a_greedy_tenant())


def test_a_body_that_is_given_up_while_it_waits_for_its_turn_leaves_nothing(
    data: Path, make_held: Callable[[HeldGate], Library]
):
    bodies = [tiff_bytes(seed=number) for number in range(2)]
    gate = HeldGate(bodies)
    library = make_held(gate)

    async def give_up() -> None:
        sent = [asyncio.create_task(send(library, "greedy", body)) for body in bodies]
        await asyncio.to_thread(gate.wait_for, 2)
        waiting = asyncio.create_task(send(library, "greedy", tiff_bytes(seed=9)))
        await asyncio.to_thread(wait_for_bodies, data, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.open()
        assert all(stored.created for stored in await asyncio.gather(*sent))

    asyncio.run(give_up())
    library.close()
    assert len(files_of(data)) == 2


def wait_for_bodies(data: Path, count: int) -> None:
    """So many bodies have come whole and are not in their slides' folders yet."""
    size_bytes = len(tiff_bytes(seed=9))
    for _ in range(LIMIT_S * 100):
        sizes = [path.stat().st_size for path in (data / "incoming").iterdir()]
        if sizes.count(size_bytes) == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError("no body came whole")


class ClosingQuota(Quota):
    """Closes the library when room for what a zip unpacks to is asked for."""

    def __init__(self, engine: Engine, library: Library) -> None:
        super().__init__(engine, None)
        self._library, self._asked = library, 0

    def require(self, owner: Owner, held: Held) -> None:
        self._asked += 1
        if self._asked == 2:  # the first time for the zip itself
            self._library.close()


def test_an_unpacking_is_given_up_when_the_service_ends(data: Path, engine: Engine):
    library = make_library(data, engine)
    library.quota = ClosingQuota(engine, library)
    body = pack(MRXS)
    with pytest.raises(Busy, match="being shut down"):
        library.store(TENANT, [body], content_length=len(body))
    assert files_of(data) == []


def test_a_body_that_came_whole_is_not_checked_any_more_when_the_service_ends(
    data: Path, library: Library
):
    def blocks() -> Iterator[bytes]:
        yield tiff_bytes()
        library.close()

    with pytest.raises(Busy, match="being shut down"):
        library.store(TENANT, blocks())
    assert files_of(data) == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shared"
    root.mkdir()
    (root / "a.tif").write_bytes(tiff_bytes())
    return root


class ClosingGate:
    """Closes the library when it is asked the second time."""

    library: Library

    def __init__(self) -> None:
        self._asked = 0

    def __call__(self, path: Path) -> Admitted:
        self._asked += 1
        if self._asked == 2:
            self.library.close()
        return admit(path)


@pytest.fixture
def closing(data: Path, engine: Engine, root: Path) -> Library:
    gate = ClosingGate()
    settings = make_settings(data, slide_roots=(root,))
    gate.library = Library(data, engine, settings, lambda: 1000.0, gate=gate)
    return gate.library


def test_a_shared_slide_is_read_no_further_when_the_service_ends(closing: Library, root: Path):
    (root / "b.tif").write_bytes(tiff_bytes(seed=1))
    added = closing.add_path(TENANT, "a.tif").slide
    with pytest.raises(Busy, match="being shut down"):
        closing.add_path(TENANT, "b.tif")
    assert closing.page(TENANT, limit=9) == [added]


def test_a_shared_slide_that_was_not_read_to_its_end_is_not_lost(
    data: Path, closing: Library, root: Path
):
    added = closing.add_path(TENANT, "a.tif").slide
    with pytest.raises(Busy):
        closing.store(TENANT, [tiff_bytes()])  # its bytes: is the file still there, as it was?
    assert closing.get(TENANT, added.id) == added
    assert files_of(data) == []
