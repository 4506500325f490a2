"""A body from the event loop to the disk: the loop collects blocks, threads hash and write them."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

from service.errors import InvalidRequest, UploadStalled
from service.storage.incoming import BLOCK_BYTES, Incoming

__all__ = ["pour"]

T = TypeVar("T")

BLOCK_STALLS = 10
"""A block may take so many times as long as nothing may come: by default 1.7 kB/s are the least."""


async def pour(
    chunks: AsyncIterable[bytes],
    begin: Callable[[], Incoming],
    settle: Callable[[Incoming], T],
    *,
    stall_s: float,
    writers: Executor,
    settlers: Executor,
) -> T:
    """What settle() makes of the body. After an error, or a cancelled request, nothing is left.

    `settlers` check whole bodies, which may take minutes; `writers` stay free for blocks.
    Raises UploadStalled (no byte for `stall_s`), InvalidRequest (the client went away), and what
    begin, settle and Incoming.write raise.
    """
    incoming = await _begin(begin, settlers)
    loop = asyncio.get_running_loop()
    try:
        async for block in _blocks(chunks, stall_s):
            await loop.run_in_executor(writers, incoming.write, block)
    except asyncio.CancelledError:  # no waiting here: abort() lets a block's thread end first
        settlers.submit(incoming.abort)
        raise
    except BaseException:
        await loop.run_in_executor(settlers, incoming.abort)
        raise
    settling = settlers.submit(settle, incoming)
    try:
        return await asyncio.wrap_future(settling)
    finally:
        if settling.cancelled():  # before it began; else it runs to its end, and is whole
            settlers.submit(incoming.abort)


async def _begin(begin: Callable[[], Incoming], executor: Executor) -> Incoming:
    """Where the request is cancelled meanwhile, what the thread opened is given up."""
    beginning = executor.submit(begin)
    try:
        return await asyncio.wrap_future(beginning)
    except asyncio.CancelledError:
        beginning.add_done_callback(_give_up)
        raise


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
