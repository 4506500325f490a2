"""JSON objects, one a line and of limited length, over a pair of pipes."""

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_LINE_BYTES", "Channel", "ChannelClosed"]

MAX_LINE_BYTES = 256 << 10
"""A request is a few hundred bytes and a problem a few thousand; more is no message of ours."""


class ChannelClosed(Exception):
    """The other side has ended, or says what is no message."""


class Channel:
    """One end: what it reads from, what it writes to. One thread reads and one writes at a time."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._buffer = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises ChannelClosed; ValueError where the message is too long."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a message of {len(line)} bytes; the limit is {MAX_LINE_BYTES}")
        try:
            while line:
                line = line[os.write(self._write_fd, line) :]
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout_s: float | None = None, wake_fd: int = -1) -> dict[str, Any] | None:
        """The next message; None when time is up, or when there is something to read on `wake_fd`.

        Raises ChannelClosed.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        watched = [self._read_fd, *([wake_fd] if wake_fd >= 0 else [])]
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(watched, [], [], left)
            if self._read_fd not in ready:
                return None
            self._fill()
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        return _decode(bytes(line))

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _fill(self) -> None:
        try:
            some = os.read(self._read_fd, 1 << 16)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not some:
            raise ChannelClosed("the other side has ended")
        self._buffer += some
        if len(self._buffer) > 2 * MAX_LINE_BYTES:
            raise ChannelClosed(f"a line of more than {MAX_LINE_BYTES} bytes")


def _decode(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ChannelClosed("a line that is not JSON") from error
    if not isinstance(message, dict):
        raise ChannelClosed("a line that is no JSON object")
    return message
