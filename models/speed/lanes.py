"""Parts of a batch side by side, each on cores of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

__all__ = ["Lanes", "lane_count"]

MOST_LANES = 8
"""Beyond, lanes get more threads each: every lane holds the activations of a batch."""

Given = TypeVar("Given")
Answer = TypeVar("Answer")


def lane_count(device: torch.device, form: str) -> int:
    """How many batches a device computes fastest side by side.

    On a CPU: one a thread of torch's. Layers whose threads wait for each other after each of them
    take longer: of ResNet-18 on 2 cores 10 to 50 % (docs/performance.md). Forms of another library
    or compiler share the cores out themselves.
    """
    if device.type != "cpu" or form not in ("plain", "filtered"):
        return 1
    return min(torch.get_num_threads(), MOST_LANES)


class Lanes:
    """Threads that call torch, and share its threads out evenly. Close them.

    One lane is the caller itself.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[Given], Answer], parts: Iterable[Given]) -> list[Answer]:
        """The answers in the order of the parts; what one of them raises ends it."""
        if self.count == 1:
            return [work(part) for part in parts]
        if self._pool is None:
            self._pool = _start(self.count)
        return list(self._pool.map(work, parts))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _start(count: int) -> ThreadPoolExecutor:
    """All threads at once. torch keeps the number of its threads by thread, but a thread that asks
    for the first time gets what was set last by any: so each asks first, and it is set back."""
    before = torch.get_num_threads()
    started = Barrier(count)

    def begin(_: int) -> None:
        torch.get_num_threads()
        torch.set_num_threads(max(1, before // count))
        started.wait()

    pool = ThreadPoolExecutor(count, "network")
    list(pool.map(begin, range(count)))
    torch.set_num_threads(before)
    return pool
