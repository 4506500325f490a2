"""A body from the event loop to the disk: the loop collects blocks, threads hash and write them."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from service.errors import InvalidRequest, UploadStalled
from service.storage.incoming import BLOCK_BYTES, Incoming

__all__ = ["THREADS", "Reception"]

T = TypeVar("T")

THREADS = 4  # of each kind; more would only make one disk seek

BLOCK_STALLS = 10
"""A block may take so many times as long as nothing may come: by default 1.7 kB/s are the least."""


class Reception:
    """The threads that bodies are received with. close() waits for what they do."""

    def __init__(self, stall_s: float, share: int) -> None:
        """`share`: how many of a tenant's bodies are checked at once, of THREADS."""
        self._stall_s, self._share = stall_s, share
        self._steps = ThreadPoolExecutor(THREADS, "step")
        self._writers = ThreadPoolExecutor(THREADS, "upload")
        self._settlers = ThreadPoolExecutor(THREADS, "settle")
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def close(self) -> None:
        for executor in (self._writers, self._settlers, self._steps):
            executor.shutdown()

    async def pour(
        self,
        tenant: str,
        chunks: AsyncIterable[bytes],
        begin: Callable[[], Incoming],
        settle: Callable[[Incoming], T],
    ) -> T:
        """What settle() makes of the body. After an error, or a cancelled request, nothing is left.

        Checks of whole bodies take minutes: other bodies begin, come in and are given up without
        waiting for one. Raises UploadStalled (no byte for `stall_s`), InvalidRequest (the client
        went away), and what begin, settle and Incoming.write raise.
        """
        incoming = await self._begin(begin)
        turn = self._turns.setdefault(tenant, asyncio.Semaphore(self._share))
        loop = asyncio.get_running_loop()
        try:
            async for block in _blocks(chunks, self._stall_s):
                await loop.run_in_executor(self._writers, incoming.write, block)
            await turn.acquire()
        except asyncio.CancelledError:  # no waiting here: abort() lets a block's thread end first
            self._steps.submit(incoming.abort)
            raise
        except BaseException:
            await loop.run_in_executor(self._steps, incoming.abort)
            raise
        try:
            return await self._settle(settle, incoming)
        finally:
            turn.release()

    async def _begin(self, begin: Callable[[], Incoming]) -> Incoming:
        """Where the request is cancelled meanwhile, what the thread opened is given up."""
        beginning = self._steps.submit(begin)
        try:
            return await asyncio.wrap_future(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_give_up)
            raise

    async def _settle(self, settle: Callable[[Incoming], T], incoming: Incoming) -> T:
        settling = self._settlers.submit(settle, incoming)
        try:
            return await asyncio.wrap_future(settling)
        finally:
            if settling.cancelled():  # before it began; else it runs to its end, and is whole
                self._steps.submit(incoming.abort)


def _give_up(beginning: Future[Incoming]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().abort()


async def _blocks(chunks: AsyncIterable[bytes], stall_s: float) -> AsyncIterator[bytearray]:
    """The same bytes in blocks of about BLOCK_BYTES; each is the taker's own."""
    block = bytearray()
    source = aiter(chunks)
    clock = asyncio.get_running_loop().time
    until = clock() + BLOCK_STALLS * stall_s
    while (chunk := await _next(source, min(stall_s, until - clock()))) is not None:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield block
            block, until = bytearray(), clock() + BLOCK_STALLS * stall_s
    if block:
        yield block


async def _next(source: AsyncIterator[bytes], stall_s: float) -> bytes | None:
    from starlette.requests import ClientDisconnect

    try:
        async with asyncio.timeout(stall_s):
            return await anext(source)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise UploadStalled(
            f"nothing came for {stall_s:g} s, or too little before; send the slide again"
        ) from error
    except ClientDisconnect as error:
        raise InvalidRequest("the client went away in the middle of the body") from error
