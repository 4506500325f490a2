"""How many processors this process may use, and work spread over them."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

__all__ = ["each_on_cores", "usable_cores"]

MOST_THREADS = 4  # of one piece of work: each has temporaries of its own

Item = TypeVar("Item")


def usable_cores() -> int:
    """Those that the process is bound to, where the system tells; else all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each_on_cores(work: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Calls `work` with each item, on several cores where there are. Raises what it raises.

    The caller works too, beside threads that stay: starting them anew took an eighth of the time of
    a slide's mask. Where they are busy with somebody else's items it does all by itself.
    """
    left = iter(items)

    def take_items() -> None:
        for item in left:
            work(item)

    others = min(len(items), MOST_THREADS, usable_cores()) - 1
    helping = [_helpers().submit(take_items) for _ in range(others)]
    try:
        take_items()
    finally:
        deque(left, maxlen=0)  # after an error nobody begins another
        begun = [helper for helper in helping if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_THREADS - 1, "cores")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads are not forked
