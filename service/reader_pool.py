"""Reader processes that stay open between requests, each for one slide of one tenant only."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from service.errors import Busy, DecoderCrashed, DecoderTimeout
from service.sandbox.launcher import shared_launcher
from service.sandbox.slide import SandboxedSlide, open_in_sandbox
from service.storage.stamps import Stamp
from wsi.errors import SlideNotFound

__all__ = ["ReaderKey", "ReaderPool"]

OpenPath = Callable[[str, tuple[float, float] | None], SandboxedSlide]
Failure = DecoderCrashed | DecoderTimeout
RESTARTS = 1  # a crash may be the machine's fault; a second one is the file's
END_S = 5.0  # until readers that were ended by force are let go by those who wait for them
LOOK_S = 0.1
SHUT_DOWN = "the service is being shut down; ask again in a minute"


class ReaderKey(NamedTuple):
    """Whose slide it is. The same id under another tenant is another slide."""

    tenant: str
    slide_id: str


class _Place(NamedTuple):
    """A key over a file as it is now: one that was replaced is opened anew."""

    key: ReaderKey
    path: str
    mpp: tuple[float, float] | None
    file: Stamp


@dataclass
class _Entry:
    """All but `opening` is guarded by the pool's lock. `failure` is the last one."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    slide: SandboxedSlide | None = None
    borrowers: int = 0
    used_at: float = 0.0
    failure: Failure | None = None
    failed_at: float = 0.0
    failures: int = 0


def end_readers() -> None:
    """All of this process, at once."""
    shared_launcher().close()


class ReaderPool:
    """At most `most` reader processes; the one that was not used for longest makes room.

    One that nobody used for `idle_s` is ended. One that crashed is replaced once; when its
    successor crashes too, the error stands for `grace_s`, and nobody is served from the file until
    then. close() waits `close_s` for reads that go on, then `end_readers` ends them. Safe to use
    from several threads.
    """

    def __init__(
        self,
        most: int = 16,
        *,
        idle_s: float = 120.0,
        grace_s: float = 300.0,
        close_s: float = 3.0,
        open_path: OpenPath = open_in_sandbox,
        end_readers: Callable[[], object] = end_readers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._idle_s = idle_s
        self._grace_s = grace_s
        self._close_s = close_s
        self._open_path, self._end_readers = open_path, end_readers
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[_Place, _Entry] = {}
        self._borrowers = 0
        self._sweeper: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def borrow(
        self, key: ReaderKey, path: str | Path, mpp: tuple[float, float] | None = None
    ) -> Iterator[SandboxedSlide]:
        """The slide, open; others may read from it at the same time. Do not close it.

        Raises what open_in_sandbox raises, and Busy where all readers are in use or closed.
        """
        place = _Place(key, str(path), mpp, _stamp(key, str(path)))
        entry = self._enter(place)
        try:
            yield self._opened(place, entry)
        except (DecoderCrashed, DecoderTimeout) as error:
            if self._closed:
                raise Busy(SHUT_DOWN) from error
            raise
        finally:
            self._leave(entry)

    def prune(self) -> None:
        """Ends the readers that have been idle for too long, and forgets old failures."""
        with self._changed:
            now = self._clock()
            idle = [
                place
                for place, entry in self._entries.items()
                if entry.borrowers == 0
                and now - entry.used_at >= (self._grace_s if entry.failures else self._idle_s)
            ]
            slides = [self._entries.pop(place).slide for place in idle]
        _close_all(slides)

    def drop(self, key: ReaderKey) -> None:
        """Ends the readers of a slide that is being deleted, those in use when they are done."""
        with self._changed:
            mine = [place for place in self._entries if place.key == key]
            entries = [self._entries.pop(place) for place in mine]
            self._changed.wait_for(lambda: not any(entry.borrowers for entry in entries))
        _close_all([entry.slide for entry in entries])

    def close(self) -> None:
        """Ends all readers, after most reads that go on. May be called twice."""
        with self._changed:
            self._closed = True
            entries = list(self._entries.values())
            self._entries.clear()
            self._changed.notify_all()
            is_free = self._changed.wait_for(lambda: not self._borrowers, self._close_s)
            sweeper, self._sweeper = self._sweeper, None
        until = time.monotonic() + END_S
        while not is_free and time.monotonic() < until:  # again: one may be about to be started
            self._end_readers()
            with self._changed:
                is_free = self._changed.wait_for(lambda: not self._borrowers, LOOK_S)
        _close_all([entry.slide for entry in entries])
        if sweeper is not None:
            sweeper.join()

    def __len__(self) -> int:
        """Readers that are open, or about to be."""
        with self._changed:
            return self._count()

    def _enter(self, place: _Place) -> _Entry:
        self.prune()
        evicted: list[SandboxedSlide | None] = []
        with self._changed:
            self._require_open()
            entry = self._entries.get(place)
            if entry is None or (entry.slide is None and entry.borrowers == 0):
                evicted = self._make_room()
            entry = self._entries.setdefault(place, _Entry())
            entry.borrowers += 1
            self._borrowers += 1
            self._start_sweeper()
        _close_all(evicted)
        return entry

    def _require_open(self) -> None:
        if self._closed:
            raise Busy(SHUT_DOWN)

    def _count(self) -> int:
        return sum(1 for e in self._entries.values() if e.slide is not None or e.borrowers)

    def _make_room(self) -> list[SandboxedSlide | None]:
        if self._count() < self._most:
            return []
        idle = {
            place: entry
            for place, entry in self._entries.items()
            if entry.borrowers == 0 and entry.slide is not None
        }
        if not idle:
            raise Busy(f"all {self._most} slide readers are in use; ask again in a few seconds")
        oldest = min(idle, key=lambda place: idle[place].used_at)
        return [self._entries.pop(oldest).slide]

    def _leave(self, entry: _Entry) -> None:
        with self._changed:
            entry.borrowers -= 1
            self._borrowers -= 1
            entry.used_at = self._clock()
            self._note_failure(entry)
            self._changed.notify_all()

    def _opened(self, place: _Place, entry: _Entry) -> SandboxedSlide:
        """Opening takes milliseconds to seconds; those who want the same slide wait for it, others
        do not."""
        with entry.opening:
            with self._changed:
                self._note_failure(entry)
                if entry.slide is not None:
                    return entry.slide
                self._require_open()
                self._raise_standing(entry)
            try:
                slide = self._open_path(place.path, place.mpp)
            except (DecoderCrashed, DecoderTimeout) as error:
                with self._changed:
                    self._count_failure(entry, error)
                raise
            with self._changed:
                entry.slide = slide
            return slide

    def _note_failure(self, entry: _Entry) -> None:
        """A dead slide is let go: others may still hold it, and are told why by itself."""
        if entry.slide is not None and entry.slide.failure is not None:
            self._count_failure(entry, entry.slide.failure)
            entry.slide = None

    def _count_failure(self, entry: _Entry, failure: Failure) -> None:
        now = self._clock()
        if entry.failures and now - entry.failed_at >= self._grace_s:
            entry.failures = 0
        entry.failure, entry.failed_at = failure, now
        entry.failures += 1

    def _raise_standing(self, entry: _Entry) -> None:
        if entry.failure is None or entry.failures <= RESTARTS:
            return
        if self._clock() - entry.failed_at < self._grace_s:
            raise type(entry.failure)(*entry.failure.args)
        entry.failures = 0

    def _start_sweeper(self) -> None:
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep, name="reader-pool", daemon=True)
            self._sweeper.start()

    def _sweep(self) -> None:
        """Without it the readers of the last requests of a day would stay until the next day."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, timeout=self._idle_s / 4):
                    return
            self.prune()


def _close_all(slides: list[SandboxedSlide | None]) -> None:
    for slide in slides:
        if slide is not None:
            slide.close()


def _stamp(key: ReaderKey, path: str) -> Stamp:
    """The path stays untold: it may name a patient."""
    try:
        return Stamp.of(Path(path))
    except (OSError, ValueError) as error:
        raise SlideNotFound(f"{key.slide_id}: its file is not there any more") from error
