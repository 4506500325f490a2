"""How much memory a process may still take."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["free_bytes"]

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")  # version 2, as a container sees its own


def free_bytes() -> int:
    """Of the machine, or of the container where that has a limit with less left. What the system
    keeps of files counts as free: it gives that up when asked."""
    limits = (_free_in_machine(), _free_in_container())
    return min(limit for limit in limits if limit is not None)


def _free_in_machine() -> int:
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # nobody tells: half


def _free_in_container() -> int | None:
    most, used = (_lines(CONTAINER / name)[:1] for name in ("memory.max", "memory.current"))
    if not most or not used or most == ["max"]:
        return None
    files = [line for line in _lines(CONTAINER / "memory.stat") if line.startswith("file ")]
    kept = int(files[0].split()[1]) if files else 0
    return max(0, int(most[0]) - int(used[0]) + kept)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
