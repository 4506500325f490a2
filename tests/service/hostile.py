"""What a reader process does once a decoder in it has been taken over, or breaks.

`run` is a program for `Launcher`, which only tests pass. The name of the deed comes in the place of
the reader's name.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.sandbox.child import serve
from service.sandbox.description import describe_slide
from service.sandbox.wire import HEADER, MAGIC, receive, send
from wsi.errors import CorruptSlide, UnsupportedSlide
from wsi.geometry import Box, Mpp
from wsi.readers.array import ArraySlide
from wsi.readers.gate import Source
from wsi.slide import Slide

MODE = {"landlock": True, "seccomp": True, "netns": True, "rlimits": True}
TRAP = 7
"""Reading a box that starts at this x sets the deed off."""


def run(control: socket.socket, job: dict[str, Any]) -> None:
    name = job["reader"]
    if name in SPEECHES:
        SPEECHES[name](control, job)
    elif name in ANSWERS:
        answer_reads(control, ANSWERS[name])
    elif name == "attempt":
        serve(control, job, attempt)
    elif name.startswith("open-"):
        serve(control, job, lambda source, *_: DEEDS[name[5:]](source.path))
    else:
        serve(control, job, lambda source, *_: TrappedSlide(source, DEEDS[name]))


class TrappedSlide(ArraySlide):
    def __init__(self, source: Source, deed: Callable[[str], Any]) -> None:
        super().__init__([np.full((200, 300, 3), 9, np.uint8)], path=source.path)
        self._info = replace(self._info, reader="image", files=source.files)
        self._deed = deed

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        if box.x == TRAP:
            self._deed(self._info.path)
        return super()._read_inside(level, box)


def abort(path: str) -> None:
    os.abort()


def violate_memory(path: str) -> None:
    ctypes.string_at(0)


def hang(path: str) -> None:
    threading.Event().wait()


def spin(path: str) -> None:
    while True:
        pass


def leave(path: str) -> None:
    os._exit(3)


def exhaust(path: str) -> None:
    """A GiB more than the limit; only asked for, not filled."""
    np.empty(5 << 30, np.uint8)


def exhaust_wrapped(path: str) -> None:
    """As readers do, which turn all that a decoder raises into CorruptSlide."""
    try:
        exhaust(path)
    except Exception as error:
        raise CorruptSlide(f"{path}: cannot be decoded ({error})") from error


def stumble(path: str) -> None:
    raise KeyError("no such tag")


def refuse(path: str) -> None:
    raise CorruptSlide(f"{path}: refused,\nby\x1b[31m {'long ' * 1000}")


def stumble_over(path: str) -> None:
    raise KeyError(path)


def refuse_beside(path: str) -> None:
    """As readers do of slides of several files."""
    place = Path(path)
    raise CorruptSlide(f"{place.with_suffix('')}/a.dat: missing, and {place.parent}/b, c.dat too")


DEEDS: dict[str, Callable[[str], Any]] = {
    "abort": abort,
    "violate-memory": violate_memory,
    "hang": hang,
    "spin": spin,
    "leave": leave,
    "exhaust": exhaust,
    "exhaust-wrapped": exhaust_wrapped,
    "stumble": stumble,
    "refuse": refuse,
    "refuse-beside": refuse_beside,
    "stumble-over": stumble_over,
}


def attempt(source: Source, mpp: Mpp | None, reader: str, apply_icc: bool) -> Slide:
    """Tries what a reader has no use for, and reports how each attempt ended."""
    outcomes = {}
    for name, crime in CRIMES.items():
        try:
            outcomes[name] = f"done: {crime(Path(source.path))!r}"[:40]  # a message is short
        except OSError as error:
            outcomes[name] = errno.errorcode[error.errno or 0]
    raise UnsupportedSlide(json.dumps(outcomes))


def system_call(number: int, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "system call")
    return result


def secrets() -> list[str]:
    return [name for name in os.environ if name.startswith("WSI_")]


def send_signal(pid: int) -> None:
    os.kill(pid, 0)


def write_to(path: Path, flags: int) -> int:
    return os.write(os.open(path, flags), b"x")


CRIMES: dict[str, Callable[[Path], Any]] = {
    "look into the environment": lambda slide: ("LANG" in os.environ, secrets()),
    "read a neighbour": lambda slide: (slide.parent / "neighbour.txt").read_text(),
    "read outside": lambda slide: Path("/etc/passwd").read_text(),
    "list the folder": lambda slide: list(slide.parent.iterdir()),
    "read the parent's environment": lambda slide: Path(
        f"/proc/{os.getppid()}/environ"
    ).read_bytes(),
    "write a new file": lambda slide: write_to(slide.parent / "new.txt", os.O_CREAT | os.O_WRONLY),
    "write to the slide": lambda slide: write_to(slide, os.O_RDWR),
    "write to /dev/shm": lambda slide: write_to(
        Path("/dev/shm/wsi-test"), os.O_CREAT | os.O_WRONLY
    ),
    "truncate the slide": lambda slide: os.truncate(slide, 0),
    "remove the slide": lambda slide: slide.unlink(),
    "rename the slide": lambda slide: slide.rename(slide.with_name("other")),
    "make a link": lambda slide: (slide.parent / "link").symlink_to("/etc"),
    "change the mode": lambda slide: slide.chmod(0o777),
    "make an internet socket": lambda slide: socket.socket(socket.AF_INET),
    "make a local socket": lambda slide: socket.socket(socket.AF_UNIX),
    "make a datagram pair": lambda slide: socket.socketpair(type=socket.SOCK_DGRAM),
    "run a program": lambda slide: os.execv("/bin/true", ["true"]),
    "fork": lambda slide: os.fork(),
    "signal the parent": lambda slide: send_signal(os.getppid()),
    "signal init": lambda slide: send_signal(1),
    "make memory": lambda slide: os.memfd_create("mine"),
    "raise a limit": lambda slide: resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0)),
    "use io_uring": lambda slide: system_call(425, 8, bytes(120)),
    "enter a namespace": lambda slide: system_call(
        272 if os.uname().machine == "x86_64" else 97, 0
    ),
    "trace the parent": lambda slide: system_call(
        101 if os.uname().machine == "x86_64" else 117, 16, os.getppid(), 0, 0
    ),
}


def speak(data: bytes) -> Callable[[socket.socket, dict[str, Any]], None]:
    def program(control: socket.socket, job: dict[str, Any]) -> None:
        control.sendall(data)
        signal.pause()

    return program


def frame(text: bytes, tail: bytes = b"") -> bytes:
    return HEADER.pack(MAGIC, len(text), len(tail)) + text + tail


def trickle(control: socket.socket, job: dict[str, Any]) -> None:
    """A byte at a time, never an end."""
    control.sendall(HEADER.pack(MAGIC, 1 << 20, 0))
    while True:
        control.sendall(b" ")
        time.sleep(0.001)


SPEECHES: dict[str, Callable[[socket.socket, dict[str, Any]], None]] = {
    "say-zeros": speak(bytes(64)),
    "say-other-magic": speak(struct.pack("!4sII", b"HTTP", 2, 0) + b"{}"),
    "say-4-gib": speak(HEADER.pack(MAGIC, 0xFFFFFFFF, 0)),
    "say-long-tail": speak(HEADER.pack(MAGIC, 2, 0xFFFFFFFF) + b"{}"),
    "say-no-json": speak(frame(b"{'a': 1}")),
    "say-no-object": speak(frame(b"[1, 2]")),
    "say-nan": speak(frame(b'{"mode": NaN}')),
    "say-no-utf8": speak(frame(b'{"mode": "\xff"}')),
    "say-deep": speak(frame(b"[" * 1_000_000)),
    "say-long-number": speak(frame(b'{"mode": ' + b"9" * 100_000 + b"}")),
    "say-no-mode": speak(frame(b'{"slide": {}}')),
    "say-mode-of-text": speak(frame(b'{"mode": {"landlock": "yes"}, "slide": {}}')),
    "say-empty-slide": speak(frame(json.dumps({"mode": MODE, "slide": {}}).encode())),
    "say-own-error": speak(frame(b'{"error": "SystemExit", "message": "bye"}')),
    "say-error-of-list": speak(frame(b'{"error": ["WsiError"], "message": "bye"}')),
    "say-half": speak(HEADER.pack(MAGIC, 100, 0) + b"{"),
    "say-trickle": trickle,
}
SLOW_SPEECHES = ("say-half", "say-trickle")


def answer_reads(
    control: socket.socket, answer: Callable[[socket.socket, dict[str, Any]], None]
) -> None:
    """Opens as it should, and answers the first read in its own way."""
    slide = ArraySlide([np.zeros((200, 300, 3), np.uint8)])
    description = describe_slide(slide.info) | {"reader": "image"}
    send(control, {"mode": MODE, "slide": description})
    message = receive(control, max_fds=1)
    line = socket.socket(fileno=message.fds[0])
    request = receive(line, max_fds=1)
    answer(line, request.body | {"fd": request.fds[0]})
    signal.pause()


def right(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    _, _, width, height = request["box"]
    answer = {"id": request["id"], "shape": [height, width, 3], "bytes": height * width * 3}
    return answer | changes


def shrink(line: socket.socket, request: dict[str, Any]) -> None:
    """Takes the shared memory away; the parent would end with SIGBUS."""
    with_truncation = "done"
    try:
        os.ftruncate(request["fd"], 0)
    except OSError as error:
        with_truncation = errno.errorcode[error.errno or 0]
    send(line, right(request) if with_truncation == "EPERM" else {"id": with_truncation})


ANSWERS: dict[str, Callable[[socket.socket, dict[str, Any]], None]] = {
    "answer-other-id": lambda line, request: send(line, right(request, id=request["id"] + 1)),
    "answer-text-id": lambda line, request: send(line, right(request, id="1")),
    "answer-larger": lambda line, request: send(line, right(request, shape=[9000, 9000, 3])),
    "answer-more-bytes": lambda line, request: send(line, right(request, bytes=1 << 40)),
    "answer-negative": lambda line, request: send(line, right(request, shape=[-1, 10, 3])),
    "answer-extra": lambda line, request: send(line, right(request, more=1)),
    "answer-zeros": lambda line, request: line.sendall(bytes(64)),
    "answer-long": lambda line, request: line.sendall(HEADER.pack(MAGIC, 1 << 20, 0)),
    "answer-goodbye": lambda line, request: line.close(),
    "answer-shrunk": shrink,
}
