"""HTTP/1.1 as the server speaks it: uvicorn's, without connections that are held for nothing.

uvicorn waits for ever for the head of a request, keeps as much of it as comes, and waits for ever
for a client that does not read its answer; each of these is one of the connections that it has.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_S", "MAX_HEAD_BYTES", "UNREAD_S", "PatientProtocol"]

HEAD_S = 20.0
"""From a connection's first moment, or a request's first byte, to the end of the head."""

MAX_HEAD_BYTES = 64 << 10

UNREAD_S = 120.0
"""How long an answer waits for its reader. 64 kB are sent ahead: slower than that is no reader."""

TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class PatientProtocol(HttpToolsProtocol):
    """Ends a connection whose head is too long or too slow, or whose answer nobody reads."""

    head_s, unread_s = HEAD_S, UNREAD_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_in_head, self._head_bytes = False, 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._count(len(data))
        elif not self._is_answering():  # line breaks before a head, or a body that nobody wants
            self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._await_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(TOO_LONG)
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_s, self._give_up)

    def _end_head(self) -> None:
        self._is_in_head, self._head_bytes = False, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._is_answering():  # the head of the next request came while this one is answered
            self._await_head()
        elif not self.transport.is_closing():
            self.transport.close()
