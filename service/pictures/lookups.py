"""What was allowed a moment ago is not looked up again: viewers ask for hundreds of tiles."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lookups"]

Found = TypeVar("Found")


class Lookups(Generic[Found]):
    """Values kept for `keep_s`, by key; errors are not kept. Safe from several threads."""

    def __init__(self, keep_s: float, clock: Callable[[], float], *, most: int = 4096) -> None:
        self._keep_s, self._clock, self._most = keep_s, clock, most
        self._kept: dict[Hashable, tuple[float, Found]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Found | None:
        until, found = self._kept.get(key, (0.0, None))
        return found if self._clock() < until else None

    def put(self, key: Hashable, found: Found) -> None:
        now = self._clock()
        with self._lock:
            self._kept.pop(key, None)
            while self._kept and self._oldest() <= now:
                del self._kept[next(iter(self._kept))]
            if len(self._kept) >= self._most:
                self._kept.clear()
            self._kept[key] = now + self._keep_s, found

    def __len__(self) -> int:
        """Those that are held in memory."""
        return len(self._kept)

    def _oldest(self) -> float:
        """When the one that was put first is to go."""
        until, _ = self._kept[next(iter(self._kept))]
        return until

    def clear(self) -> None:
        """Something was deleted."""
        with self._lock:
            self._kept.clear()
