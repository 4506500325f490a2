"""Whether a file is as it was, as far as the file system tells without reading it."""

from pathlib import Path
from typing import NamedTuple, Self

__all__ = ["Stamp"]

TICK_NS = 20_000_000
"""Times of files are those of the kernel's last tick: 10 ms old on Linux at most, at 100 Hz."""


class Stamp(NamedTuple):
    """What changes when a file is written to, or another one takes its name."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int  # who copies a file with its times, or renames one, cannot set this

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises OSError; ValueError of a path that no file has."""
        status = path.stat()
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )

    def is_of(self, size_bytes: int, seen_at: float) -> bool:
        """Whether nobody touched it since, and it has that size. seen_at: Unix seconds."""
        newest_ns = max(self.modified_ns, self.changed_ns) + TICK_NS
        return self.size_bytes == size_bytes and newest_ns <= seen_at * 1e9
