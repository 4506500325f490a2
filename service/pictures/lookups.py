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
        with self._lock:
            if len(self._kept) >= self._most:
                self._kept.clear()
            self._kept[key] = self._clock() + self._keep_s, found

    def clear(self) -> None:
        """Something was deleted."""
        with self._lock:
            self._kept.clear()
