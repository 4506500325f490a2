"""Who may do what takes much time or memory: some at once, and nobody all of it."""

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
from starlette.requests import ClientDisconnect, Request

__all__ = ["Shares"]

Made = TypeVar("Made")


class Shares:
    """Places that are waited for in the order of coming. For one event loop.

    `most`: places in all. `parts`: how many of them one key may have, by the position of the key
    in hold(): `Shares(8, 6, 4)` gives a tenant 6 and one of its slides 4 of 8.
    """

    def __init__(self, most: int, *parts: int) -> None:
        self._all = anyio.CapacityLimiter(most)
        self._parts = parts
        self._keyed: WeakValueDictionary[Hashable, anyio.CapacityLimiter] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, *keys: Hashable) -> AsyncIterator[None]:
        """One place, counted to each of `keys`; as many as there are `parts`."""
        narrowest_first = reversed(list(zip(keys, self._parts, strict=True)))
        async with AsyncExitStack() as stack:
            # who has used up a part of the places waits for that, in no other's way
            for key, part in narrowest_first:
                await stack.enter_async_context(self._of((part, key)))
            await stack.enter_async_context(self._all)
            yield

    async def make(self, request: Request, make: Callable[[], Made], *keys: Hashable) -> Made:
        """What `make` returns, once there is a place, in a thread that no other request needs.

        Raises ClientDisconnect where nobody waits for the answer by then, and what `make` does.
        """
        async with self.hold(*keys):
            # the first message may be the end of a body that a GET does not have
            if await request.is_disconnected() or await request.is_disconnected():
                raise ClientDisconnect
            return await anyio.to_thread.run_sync(make, limiter=anyio.CapacityLimiter(1))

    def _of(self, key: tuple[int, Hashable]) -> anyio.CapacityLimiter:
        """Lives for as long as anybody waits for it or holds it."""
        limiter = self._keyed.get(key)
        if limiter is None:
            limiter = self._keyed[key] = anyio.CapacityLimiter(key[0])
        return limiter
