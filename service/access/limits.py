"""How many requests a tenant may send."""

from math import ceil
from time import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from service.errors import TooManyRequests

__all__ = ["RequestLimit"]


class RequestLimit:
    """Requests a minute of each tenant, in this process. None: as many as they like."""

    def __init__(self, per_minute: int | None) -> None:
        self._item = None if per_minute is None else RateLimitItemPerMinute(per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, tenant: str) -> None:
        """One more request. Raises TooManyRequests with `retry_after_s`."""
        if self._item is None or self._limiter.hit(self._item, tenant):
            return
        stats = self._limiter.get_window_stats(self._item, tenant)
        error = TooManyRequests(
            f"more than {self._item.amount} requests in a minute; wait a little"
        )
        error.retry_after_s = max(1, ceil(stats.reset_time - time()))  # type: ignore[attr-defined]
        raise error
