"""Bodies that are made anew for a request: to the disk first, then to the client.

Whoever reads slowly holds a file without a name, and none of the memory that making it took.
"""

import gzip
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO

import anyio
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from service.web.shares import Shares

__all__ = ["BLOCK_BYTES", "SpooledAnswer", "unzipped"]

log = logging.getLogger(__name__)

BLOCK_BYTES = 256 << 10
STALL_S = 60.0
"""A client that takes no block for so long has gone; 256 KiB are 4 kB/s."""

MADE = Shares(2, 1)
"""Made at once, by tenant: each takes the memory of a result's scores."""

SENT = Shares(16, 8)
"""Files that are made or sent, by tenant: each takes the disk of its body, compressed."""


class SpooledAnswer(StreamingResponse):
    """What `make` writes, gzip, as it is or unpacked on the way."""

    def __init__(
        self,
        make: Callable[[IO[bytes]], object],
        folder: Path,
        tenant: str,
        media_type: str,
        headers: Mapping[str, str],
        *,
        unpack: bool = False,
    ) -> None:
        """`folder`: on the disk that the file shall be on."""
        super().__init__((), headers=headers, media_type=media_type)
        self._make, self._folder, self._tenant, self._unpack = make, folder, tenant, unpack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ClientDisconnect, and what making raises, before the answer has started."""
        async with SENT.hold(self._tenant):
            with await MADE.make(Request(scope, receive), self._filled, self._tenant) as file:
                self.body_iterator = iterate_in_threadpool(self._blocks(file))
                try:
                    await super().__call__(scope, receive, partial(_send_soon, send))
                except _Stalled:
                    log.info("a client stopped reading its answer")

    def _filled(self) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 the caller closes it
        try:
            self._make(file)
            if not self._unpack:
                self.headers["Content-Length"] = str(file.tell())
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        if self._unpack:
            yield from unzipped(file)
            return
        while block := file.read(BLOCK_BYTES):
            yield block


def unzipped(packed: Path | IO[bytes]) -> Iterator[bytes]:
    with gzip.open(packed, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


class _Stalled(Exception):
    """The client takes nothing any more."""


async def _send_soon(send: Send, message: Message) -> None:
    try:
        with anyio.fail_after(STALL_S):
            await send(message)
    except TimeoutError as error:
        raise _Stalled from error
