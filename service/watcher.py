"""Tells many listeners about their jobs with one look at the queue at a time.

The worker is another process, so somebody has to poll; 200 clients that follow a job each must not
mean 200 pollers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from service.jobs import Job, Queue, Snapshot

__all__ = ["POLL_S", "Watch", "Watcher"]

POLL_S = 0.25

log = logging.getLogger(__name__)


class Watch:
    """One listener's view of one job: the last state that it was told of, and whether it is old."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self.is_closed = False  # the process shuts down: nothing more will come
        self._news = asyncio.Event()

    def tell(self, snapshot: Snapshot) -> None:
        if snapshot != self.latest:
            self.latest = snapshot
            self._news.set()

    def close(self) -> None:
        self.is_closed = True
        self._news.set()

    async def changed(self) -> Snapshot:
        """The next state that differs from the last one; some in between may be left out."""
        await self._news.wait()
        self._news.clear()
        return self.latest


class Watcher:
    """Belongs to one event loop. `run()` is its task; the queue is asked in a thread."""

    def __init__(self, queue: Queue, interval_s: float = POLL_S) -> None:
        self._queue = queue
        self._interval_s = interval_s
        self._watches: dict[str, set[Watch]] = {}
        self._wake = asyncio.Event()
        self.is_closed = False

    @asynccontextmanager
    async def watching(self, snapshot: Snapshot) -> AsyncIterator[Watch]:
        """A listener for as long as the block runs; its first state is the caller's."""
        watch, job_id = Watch(snapshot), snapshot.job.id
        if self.is_closed:
            watch.close()
        self._watches.setdefault(job_id, set()).add(watch)
        self.wake()
        try:
            yield watch
        finally:
            self._watches[job_id].discard(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    async def wait_final(self, job: Job, timeout_s: float) -> Snapshot:
        """The job once it is final, or as it is after `timeout_s`."""
        snapshot = Snapshot(job, None)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.watching(snapshot) as watch:
                while not (watch.latest.job.state.is_final or watch.is_closed):
                    await watch.changed()
                return watch.latest
        found = await asyncio.to_thread(self._queue.snapshot, [job.id])
        return found.get(job.id, snapshot)

    @property
    def is_watched(self) -> bool:
        """Somebody listens."""
        return bool(self._watches)

    def wake(self) -> None:
        """Looks at once: somebody came to listen, or a job was submitted or cancelled here."""
        self._wake.set()

    def close(self) -> None:
        """Ends all listening, so that a server which shuts down need not wait for it."""
        self.is_closed = True
        for watch in self._all():
            watch.close()

    async def run(self) -> None:
        """Until cancelled. Sleeps while nobody listens."""
        while True:
            await self._wait()
            self._wake.clear()
            await self._look()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s if self._watches else None):
                await self._wake.wait()

    async def _look(self) -> None:
        before = {job_id: tuple(watches) for job_id, watches in self._watches.items()}
        try:
            found = await asyncio.to_thread(self._queue.snapshot, list(before))
        except Exception:  # the database may be back at the next look; listeners wait meanwhile
            log.exception("the queue could not be asked")
            await asyncio.sleep(self._interval_s)
            return
        for job_id, snapshot in found.items():
            for watch in before[job_id]:  # whoever has come since may know of something newer
                watch.tell(snapshot)

    def _all(self) -> list[Watch]:
        return [watch for watches in self._watches.values() for watch in watches]
