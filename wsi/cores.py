"""How many processors this process may use, and work spread over them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["each_on_cores", "usable_cores"]

MOST_THREADS = 4  # of one piece of work: each has temporaries of its own

Item = TypeVar("Item")


def usable_cores() -> int:
    """Those that the process is bound to, where the system tells; else all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each_on_cores(work: Callable[[Item], object], items: Sequence[Item], name: str) -> None:
    """Calls `work` with each item, in threads where there are several. Raises what it raises."""
    threads = min(len(items), MOST_THREADS, usable_cores())
    if threads < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads, name) as pool:
        list(pool.map(work, items))
