"""How many processors this process may use."""

import os

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """Those that the process is bound to, where the system tells; else all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
