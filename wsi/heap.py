"""Memory that was freed, back to the system; and Python's collector."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused", "give_back_memory"]


@contextmanager
def collector_paused() -> Iterator[None]:
    """While libraries are imported, which make 400,000 objects that stay: to look again and again
    which of them can be freed took 0.6 s of the import of torch and torchvision."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def give_back_memory() -> None:
    """What the C library keeps for later, in milliseconds; does nothing where it is not glibc.

    Networks take and free arrays of many sizes, with small ones of others between them, so that
    glibc finds ever less room in what it has: a process grew by 10 MB a second.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
