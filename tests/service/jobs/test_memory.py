"""The queue in memory keeps the contract."""

from collections.abc import Callable
from functools import partial

import pytest

from service.jobs import Queue
from service.jobs.memory import MemoryQueue
from tests.service.jobs.builders import LEASE_S
from tests.service.jobs.clock import FakeClock
from tests.service.jobs.contract import QueueContract


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def make_queue(self, clock: FakeClock) -> Callable[..., Queue]:
        """The first call decides the limits: one queue is one store."""
        made: list[MemoryQueue] = []

        def make(max_queued: int = 100, max_queued_per_tenant: int = 100) -> MemoryQueue:
            if not made:
                new = partial(MemoryQueue, lease_s=LEASE_S, clock=clock)
                made.append(new(max_queued=max_queued, max_queued_per_tenant=max_queued_per_tenant))
            return made[0]

        return make

    def forget_result(self, queue: Queue, result_id: str) -> None:
        assert isinstance(queue, MemoryQueue)
        (work,) = (work for work, kept in queue.results.items() if kept == result_id)
        del queue.results[work]

    def forget_slide(self, queue: Queue, slide_id: str) -> None:
        assert isinstance(queue, MemoryQueue)
        queue.deleted_slides.add(slide_id)
