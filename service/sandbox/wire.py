"""What parent and reader process say to each other: framed JSON over Unix sockets.

A frame is a header (magic, size of the JSON, size of the tail), the JSON object and the tail, which
is raw bytes. What comes from the reader process is untrusted: sizes are checked before memory is
taken, and the parent never accepts a file descriptor.
"""

import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

__all__ = [
    "MAX_JSON_BYTES",
    "MAX_TAIL_BYTES",
    "BadMessage",
    "Message",
    "SandboxLimits",
    "SandboxMode",
    "parse_mode",
    "receive",
    "send",
]

MAGIC = b"WSR1"
HEADER = struct.Struct("!4sII")
MAX_JSON_BYTES = 4 << 20  # a slide of 20,000 files with long names
MAX_TAIL_BYTES = 8 << 20  # an ICC profile; those of scanners have at most 2 MiB


class BadMessage(Exception):
    """Bytes that are no message of this protocol."""


@dataclass(frozen=True)
class SandboxLimits:
    """What one reader process may use, and how long the parent waits for it."""

    memory_bytes: int = 4 << 30  # of address space; the codecs themselves take 0.4 GiB
    cpu_s: int = 4 * 3600  # over its whole life; a job of the largest slides takes about one hour
    open_files: int = 256
    threads: int = 8  # reads at the same time; as many as the tiler has
    open_timeout_s: float = 30.0
    read_timeout_s: float = 60.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SandboxMode:
    """What confines a reader process on this machine."""

    landlock: bool  # sees only the slide's files and Python's own
    seccomp: bool  # no socket, process, program or writing
    netns: bool  # a network namespace with nothing in it
    rlimits: bool  # memory, processor time, descriptors, no core file, no file of any size

    @property
    def is_complete(self) -> bool:
        return all(asdict(self).values())

    def to_json(self) -> dict[str, bool]:
        return asdict(self)


@dataclass(frozen=True)
class Message:
    body: dict[str, Any]
    tail: bytes = b""
    fds: tuple[int, ...] = ()  # the receiver closes them


def parse_mode(value: object) -> SandboxMode:
    names = ("landlock", "seccomp", "netns", "rlimits")
    if not isinstance(value, dict) or set(value) != set(names):
        raise BadMessage("no sandbox mode")
    if not all(isinstance(flag, bool) for flag in value.values()):
        raise BadMessage("a sandbox mode that is not of booleans")
    return SandboxMode(**value)


def send(
    sock: socket.socket,
    body: dict[str, Any],
    tail: bytes = b"",
    fds: Sequence[int] = (),
    *,
    deadline: float | None = None,
) -> None:
    """`deadline` is on time.monotonic(). TimeoutError, OSError where the other end is gone."""
    text = json.dumps(body, allow_nan=False).encode()
    frame = HEADER.pack(MAGIC, len(text), len(tail)) + text + tail
    sock.settimeout(_remaining(deadline))
    sent = socket.send_fds(sock, [frame], list(fds)) if fds else 0
    sock.sendall(memoryview(frame)[sent:])


def receive(
    sock: socket.socket,
    *,
    deadline: float | None = None,
    max_json_bytes: int = MAX_JSON_BYTES,
    max_tail_bytes: int = 0,
    max_fds: int = 0,
) -> Message:
    """EOFError where the other end is gone, TimeoutError after the deadline, BadMessage.

    Descriptors come only where max_fds asks for them; else the kernel drops them.
    """
    fds: tuple[int, ...] = ()
    start = b""
    if max_fds:
        start, fds = _receive_with_fds(sock, max_fds, deadline)
    header = start + _receive_exactly(sock, HEADER.size - len(start), deadline)
    magic, json_bytes, tail_bytes = HEADER.unpack(header)
    if magic != MAGIC or json_bytes > max_json_bytes or tail_bytes > max_tail_bytes:
        raise BadMessage(f"a header {magic!r} with {json_bytes} and {tail_bytes} bytes")
    body = _parse(_receive_exactly(sock, json_bytes, deadline))
    return Message(body, _receive_exactly(sock, tail_bytes, deadline), fds)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"no JSON ({error})") from error
    if not isinstance(body, dict):
        raise BadMessage("JSON that is no object")
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _receive_with_fds(
    sock: socket.socket, max_fds: int, deadline: float | None
) -> tuple[bytes, tuple[int, ...]]:
    """The first bytes of a frame, which carry its descriptors."""
    sock.settimeout(_remaining(deadline))
    start, fds, flags, _ = socket.recv_fds(sock, HEADER.size, max_fds)
    if not start or flags & socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise EOFError
    return start, tuple(fds)


def _receive_exactly(sock: socket.socket, size_bytes: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size_bytes:
        sock.settimeout(_remaining(deadline))
        part = sock.recv(min(size_bytes - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
