"""Many listeners, one look."""

import asyncio
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace

from service.jobs import Job, JobState, NewJob, Snapshot
from service.jobs.memory import MemoryQueue
from service.watcher import Watcher


class CountingQueue(MemoryQueue):
    """Knows how often it was asked, and for how many jobs."""

    def __init__(self) -> None:
        super().__init__(lease_s=60, max_queued=1000, max_queued_per_tenant=1000)
        self.asked: list[int] = []
        self.fails = 0

    def snapshot(self, job_ids: Collection[str]) -> Mapping[str, Snapshot]:
        self.asked.append(len(job_ids))
        if self.fails:
            self.fails -= 1
            raise OSError("the database is away")
        return super().snapshot(job_ids)


def submit(queue: MemoryQueue, number: int) -> Job:
    return queue.submit(NewJob("t", "sld_1", f"work-{number}", {})).job


async def until_final(watcher: Watcher, job: Job) -> Snapshot:
    return await watcher.wait_final(job, 20)


def test_two_hundred_listeners_are_one_look_at_a_time() -> None:
    queue = CountingQueue()
    jobs = [submit(queue, number % 100) for number in range(200)]

    async def scenario() -> list[Snapshot]:
        watcher = Watcher(queue, interval_s=0.01)
        running = asyncio.create_task(watcher.run())
        waiting = [asyncio.create_task(until_final(watcher, job)) for job in jobs]
        await asyncio.sleep(0)
        for job in {job.id: job for job in jobs}.values():
            queue.cancel("t", job.id)
        watcher.wake()
        found = await asyncio.gather(*waiting)
        running.cancel()
        return found

    found = asyncio.run(scenario())
    assert {snapshot.job.state for snapshot in found} == {JobState.CANCELLED}
    assert max(queue.asked) <= 100  # each job once, however many listen to it
    assert len(queue.asked) < 20


class SlowQueue(CountingQueue):
    """Its first answer is of before, and comes when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.has_looked, self.may_answer = threading.Event(), threading.Event()

    def snapshot(self, job_ids: Collection[str]) -> Mapping[str, Snapshot]:
        found = super().snapshot(job_ids)
        if not self.has_looked.is_set():
            self.has_looked.set()
            assert self.may_answer.wait(20)
        return found


def test_who_comes_during_a_look_is_told_nothing_older() -> None:
    queue = SlowQueue()
    job = submit(queue, 0)

    async def scenario() -> bool:
        watcher = Watcher(queue, interval_s=0.01)
        running = asyncio.create_task(watcher.run())
        async with watcher.watching(Snapshot(job, 0)):
            await asyncio.to_thread(queue.has_looked.wait)
            claimed = queue.claim("w1")
            assert claimed is not None
            async with watcher.watching(Snapshot(claimed, None)) as second:
                news = asyncio.create_task(second.changed())
                queue.may_answer.set()
                while len(queue.asked) < 4:
                    await asyncio.sleep(0.001)
                is_told = news.done()
                news.cancel()
        running.cancel()
        return is_told

    assert not asyncio.run(scenario())


def test_queue_is_not_asked_while_nobody_listens() -> None:
    queue = CountingQueue()

    async def scenario() -> None:
        watcher = Watcher(queue, interval_s=0.001)
        running = asyncio.create_task(watcher.run())
        for _ in range(100):
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(scenario())
    assert queue.asked == []


def test_listeners_outlive_a_database_that_is_away_for_a_moment() -> None:
    queue = CountingQueue()
    job = submit(queue, 0)
    queue.fails = 2

    async def scenario() -> Snapshot:
        watcher = Watcher(queue, interval_s=0.001)
        running = asyncio.create_task(watcher.run())
        waiting = asyncio.create_task(until_final(watcher, job))
        await asyncio.sleep(0)
        queue.cancel("t", job.id)
        found = await waiting
        running.cancel()
        return found

    assert asyncio.run(scenario()).job.state is JobState.CANCELLED
    assert queue.fails == 0


def test_listener_is_told_of_changes_only() -> None:
    queue = CountingQueue()
    job = submit(queue, 0)
    first = queue.snapshot([job.id])[job.id]

    async def scenario() -> int:
        watcher = Watcher(queue)
        async with watcher.watching(first) as watch:
            watch.tell(first)
            told = asyncio.create_task(watch.changed())
            await asyncio.sleep(0)
            assert not told.done()
            watch.tell(Snapshot(replace(job, done=5), 0))
            return (await told).job.done

    assert asyncio.run(scenario()) == 5
