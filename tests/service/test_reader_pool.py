"""Reader processes kept between requests: for whom, how many, how long, and after a crash."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.errors import Busy, DecoderCrashed
from service.reader_pool import ReaderKey, ReaderPool
from service.sandbox import SandboxedSlide, open_in_sandbox
from service.sandbox.launcher import Launcher
from tests.service.hostile import TRAP
from tests.wsi.readers.tiffs import write_pyramid
from wsi.errors import CorruptSlide, SlideNotFound
from wsi.geometry import Box

REPOSITORY = Path(__file__).resolve().parents[2]
HERE, AT_THE_TRAP = Box(0, 0, 10, 10), Box(TRAP, 0, 10, 10)
A, B, C = (ReaderKey("tenant-1", f"sld_{letter}") for letter in "ABC")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_pool(clock: Clock) -> Iterator[Callable[..., ReaderPool]]:
    pools = []

    def make(**options: Any) -> ReaderPool:
        pools.append(ReaderPool(clock=clock, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    write_pyramid(tmp_path / "a.tiff", [(200, 150), (100, 75)])
    return tmp_path / "a.tiff"


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def visit(pool: ReaderPool, key: ReaderKey, path: Path) -> int:
    """Reads a tile; the id of the process that did it."""
    with pool.borrow(key, path) as slide:
        assert slide.read_level(0, HERE).shape == (10, 10, 3)
        return slide.reader_pid


def test_a_slide_is_read_by_the_same_process_again(
    make_pool: Callable[..., ReaderPool], tiff: Path
):
    pool = make_pool()
    first = visit(pool, A, tiff)
    assert visit(pool, A, tiff) == first
    assert len(pool) == 1


def test_tenants_slides_and_resolutions_never_share_a_process(
    make_pool: Callable[..., ReaderPool], tiff: Path
):
    pool = make_pool()
    others = [A._replace(tenant="tenant-2"), B]
    pids = {visit(pool, key, tiff) for key in (A, *others)}
    with pool.borrow(A, tiff, mpp=(0.25, 0.25)) as slide:
        assert slide.info.mpp == (0.25, 0.25)
        pids.add(slide.reader_pid)
    assert len(pids) == 4


def test_a_file_that_was_replaced_is_opened_anew(
    make_pool: Callable[..., ReaderPool], tiff: Path, tmp_path: Path
):
    pool = make_pool()
    first = visit(pool, A, tiff)
    write_pyramid(tmp_path / "new.tiff", [(200, 150), (100, 75)])
    (tmp_path / "new.tiff").replace(tiff)
    assert visit(pool, A, tiff) != first


def test_the_one_that_was_not_used_for_longest_makes_room(
    make_pool: Callable[..., ReaderPool], clock: Clock, tiff: Path
):
    pool = make_pool(most=2)
    pids = {}
    for key in (A, B, A, C):
        clock.now += 1
        pids[key] = visit(pool, key, tiff)
    assert not is_alive(pids[B])
    assert is_alive(pids[A])
    assert is_alive(pids[C])
    assert len(pool) == 2


def test_readers_in_use_are_not_ended_for_others(make_pool: Callable[..., ReaderPool], tiff: Path):
    pool = make_pool(most=1)
    with pool.borrow(A, tiff) as slide:
        with pytest.raises(Busy, match="all 1 slide readers are in use"), pool.borrow(B, tiff):
            pass
        with pool.borrow(A, tiff) as same:
            assert same is slide
        assert slide.read_level(0, HERE).shape == (10, 10, 3)
    visit(pool, B, tiff)


def test_an_idle_reader_is_ended(make_pool: Callable[..., ReaderPool], clock: Clock, tiff: Path):
    pool = make_pool(idle_s=60)
    with pool.borrow(A, tiff) as slide:
        clock.now += 100
        pool.prune()
        pid = slide.reader_pid
        assert is_alive(pid)
    clock.now += 59
    pool.prune()
    assert is_alive(pid)
    clock.now += 1
    pool.prune()
    assert not is_alive(pid)
    assert len(pool) == 0


def test_idle_readers_are_ended_though_nobody_asks(tiff: Path):
    with_sweeper = ReaderPool(idle_s=0.01)
    with with_sweeper.borrow(A, tiff) as slide:
        pid = slide.reader_pid
    for _ in range(6000):
        if not is_alive(pid):
            break
        threading.Event().wait(0.01)
    assert not is_alive(pid)
    with_sweeper.close()


def test_a_crash_is_replaced_once_then_the_error_stands_for_a_while(
    make_pool: Callable[..., ReaderPool], clock: Clock, tiff: Path
):
    launcher = Launcher("tests.service.hostile:run", [REPOSITORY])
    opened = []

    def open_trapped(path: str, mpp: tuple[float, float] | None) -> SandboxedSlide:
        opened.append(path)
        return open_in_sandbox(path, mpp, "abort", launcher=launcher)

    pool = make_pool(open_path=open_trapped, grace_s=300)
    for attempt in (1, 2):
        with pytest.raises(DecoderCrashed), pool.borrow(A, tiff) as slide:
            slide.read_level(0, AT_THE_TRAP)
        assert len(opened) == attempt
    clock.now += 299
    with pytest.raises(DecoderCrashed, match="SIGABRT"), pool.borrow(A, tiff):
        pass
    assert len(opened) == 2
    clock.now += 1
    with pool.borrow(A, tiff) as slide:
        assert (slide.read_level(0, HERE) == 9).all()
    assert len(opened) == 3
    launcher.close()


def test_a_slide_that_crashes_when_opened_is_tried_twice(
    make_pool: Callable[..., ReaderPool], tiff: Path
):
    launcher = Launcher("tests.service.hostile:run", [REPOSITORY])
    opened = []

    def open_crashing(path: str, mpp: tuple[float, float] | None) -> SandboxedSlide:
        opened.append(path)
        return open_in_sandbox(path, mpp, "open-abort", launcher=launcher)

    pool = make_pool(open_path=open_crashing)
    for _ in range(5):
        with pytest.raises(DecoderCrashed), pool.borrow(A, tiff):
            pass
    assert len(opened) == 2
    assert len(pool) == 0
    launcher.close()


def test_a_damaged_slide_is_refused_as_ever_and_holds_no_reader(
    make_pool: Callable[..., ReaderPool], tmp_path: Path
):
    pool = make_pool(most=1)
    (tmp_path / "a.svs").write_bytes(b"")
    for _ in range(3):
        with pytest.raises(CorruptSlide), pool.borrow(A, tmp_path / "a.svs"):
            pass
    with pytest.raises(SlideNotFound), pool.borrow(A, tmp_path / "none.svs"):
        pass
    assert len(pool) == 0


def test_borrowers_at_the_same_time_share_one_opening(
    make_pool: Callable[..., ReaderPool], tiff: Path
):
    began, go_on, opened = threading.Event(), threading.Event(), []

    def open_slowly(path: str, mpp: tuple[float, float] | None) -> SandboxedSlide:
        opened.append(path)
        began.set()
        assert go_on.wait(60)
        return open_in_sandbox(path, mpp)

    pool = make_pool(open_path=open_slowly)
    pids: list[int] = []
    threads = [threading.Thread(target=lambda: pids.append(visit(pool, A, tiff))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(pids) == 4
    assert len(set(pids)) == 1
    assert len(opened) == 1


def test_dropping_a_slide_ends_its_readers_only(make_pool: Callable[..., ReaderPool], tiff: Path):
    pool = make_pool()
    mine, others = visit(pool, A, tiff), visit(pool, B, tiff)
    pool.drop(A)
    assert not is_alive(mine)
    assert is_alive(others)


def test_closing_ends_all_and_lends_no_more(tiff: Path):
    pool = ReaderPool()
    pids = [visit(pool, key, tiff) for key in (A, B)]
    pool.close()
    pool.close()
    assert not any(map(is_alive, pids))
    with pytest.raises(Busy, match="shut down"), pool.borrow(A, tiff):
        pass


class StuckReader:
    """A pool over one reader that never answers, and a thread that waits for it."""

    def __init__(self, path: Path, deed: str, close_s: float) -> None:
        self._launcher = Launcher("tests.service.hostile:run", [REPOSITORY])
        self._path, self._deed = path, deed
        self._is_asked = threading.Event()
        self.errors: list[Exception] = []
        self.pool = ReaderPool(
            open_path=self._open, end_readers=self._launcher.close, close_s=close_s
        )
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        assert self._is_asked.wait(60)

    def _open(self, path: str, mpp: tuple[float, float] | None) -> SandboxedSlide:
        if self._deed.startswith("open-"):
            self._is_asked.set()
        return open_in_sandbox(path, mpp, self._deed, launcher=self._launcher)

    def _read(self) -> None:
        try:
            with self.pool.borrow(A, self._path) as slide:
                self._is_asked.set()
                slide.read_level(0, AT_THE_TRAP)
        except Exception as error:
            self.errors.append(error)


@pytest.mark.parametrize("deed", ["hang", "open-hang"])
def test_closing_waits_a_little_for_a_reader_that_never_answers(tiff: Path, deed: str):
    """Its own time limit is a minute; so long nobody waits for a service to end."""
    stuck = StuckReader(tiff, deed, close_s=0.01)
    began = time.monotonic()
    stuck.pool.close()
    stuck.thread.join(30)
    assert time.monotonic() - began < 30
    (error,) = stuck.errors
    assert isinstance(error, Busy)
    assert "shut down" in str(error)
