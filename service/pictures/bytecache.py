"""Recently made answers in memory."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["ByteCache"]


class ByteCache:
    """The bytes last asked for, by key, up to `limit_bytes` in all less what is lent. Safe from
    several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = self.lent_bytes = 0

    def get(self, key: Hashable) -> bytes | None:
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key]

    def put(self, key: Hashable, value: bytes) -> None:
        """What is larger than the whole cache is not kept."""
        with self._lock:
            if len(value) > self._limit - self.lent_bytes:
                return
            self._drop(key)
            self._held[key] = value
            self.size_bytes += len(value)
            self._fit()

    def lend(self, lent_bytes: int) -> None:
        """So much of the limit is taken by something else now; at most all of it."""
        with self._lock:
            self.lent_bytes = lent_bytes
            self._fit()

    def _fit(self) -> None:
        while self.size_bytes > self._limit - self.lent_bytes:
            self._drop(next(iter(self._held)))

    def _drop(self, key: Hashable) -> None:
        self.size_bytes -= len(self._held.pop(key, b""))
