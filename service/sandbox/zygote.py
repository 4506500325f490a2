"""The fork server: has the codecs loaded, touches no slide, and forks a reader process for each.

Loading the codecs takes about 0.6 s, forking 2 ms. It has one thread, no secrets, no network, and
one connection, to its parent; when that ends, so does it, and with it all that it forked.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from service.sandbox.confinement import leave_network
from service.sandbox.description import clean_text
from service.sandbox.wire import Message, receive, send

__all__ = ["main"]

MODULES = (
    "wsi.readers.gate",
    "wsi.readers.tiff",
    "wsi.readers.openslide",
    "wsi.readers.tiffslide",
    "wsi.readers.image",
    "wsi.readers.colour",
    "wsi.readers.ome",
    "PIL.BmpImagePlugin",
    "PIL.ImageCms",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "pydicom",
    "simplejpeg",
    "cv2",
)
CODECS = (
    "jpeg8", "jpeg2k", "jpegxl", "jpegxr", "zlib", "deflate", "delta", "lzw", "zstd", "webp",
    "packbits", "lzma", "png",
)  # fmt: skip
"""Of imagecodecs, which loads each when it is first used."""

LOOK_S = 1.0  # how often ended processes are cleared away that nobody asked about
END_S = 2.0  # a process that hangs in the kernel, on a dead network drive, is left behind


def main(link_fd: int, program: str) -> None:
    """`program`: "module:function" that a reader process runs, `(socket, job) -> None`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent
    link = socket.socket(fileno=link_fd)
    netns = leave_network()
    _load(program)
    gc.collect()
    gc.freeze()  # else each fork's collector would copy all of it
    send(link, {"netns": netns, "pid": os.getpid()})
    _Zygote(link, program, netns).serve()


def _load(program: str) -> Any:
    for name in MODULES:
        importlib.import_module(name)
    codecs = importlib.import_module("imagecodecs")
    for name in CODECS:
        with suppress(AttributeError):  # its builds differ
            getattr(codecs, f"{name}_decode")
    module, _, function = program.partition(":")
    return getattr(importlib.import_module(module), function)


@dataclass
class _Zygote:
    link: socket.socket
    program: str
    netns: bool
    alive: set[int] = field(default_factory=set)
    ended: dict[int, dict[str, Any]] = field(default_factory=dict)  # not asked about yet

    def serve(self) -> None:
        looking = select.poll()  # the link's number may be above what select() takes
        looking.register(self.link, select.POLLIN)
        while True:
            ready = looking.poll(1000 * LOOK_S)
            for pid in list(self.alive):
                self._look(pid)
            if not ready:
                continue
            try:
                message = receive(self.link, max_fds=1)
            except (EOFError, ConnectionError):
                return
            send(self.link, self._start(message) if message.fds else self._end(message.body))

    def _start(self, message: Message) -> dict[str, Any]:
        control = message.fds[0]
        job = message.body | {"parent": os.getpid(), "netns": self.netns}
        pid = os.fork()
        if pid == 0:
            _become_reader(control, self.program, job)
        os.close(control)
        self.alive.add(pid)
        return {"pid": pid}

    def _end(self, body: dict[str, Any]) -> dict[str, Any]:
        """How it ended: by itself, within `wait_s` from now, or now."""
        pid = body["end"]
        if pid in self.alive and not self._await_end(pid, body["wait_s"]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._await_end(pid, END_S)
            return {**self.ended.pop(pid, {}), "status": None}
        return self.ended.pop(pid, {"status": None})

    def _await_end(self, pid: int, wait_s: float) -> bool:
        until = time.monotonic() + wait_s
        while not self._look(pid):
            if time.monotonic() >= until:
                return False
            time.sleep(0.0005)
        return True

    def _look(self, pid: int) -> bool:
        """Whether it has ended; then it is no zombie any more."""
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found == 0:
            return False
        self.alive.discard(pid)
        self.ended[pid] = {
            "status": os.waitstatus_to_exitcode(status),
            "peak_kib": usage.ru_maxrss,
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }
        return True


def _become_reader(control_fd: int, program: str, job: dict[str, Any]) -> None:
    """In the forked process; does not return."""
    code = 1
    control = socket.socket(fileno=control_fd)
    try:
        os.closerange(3, control_fd)
        os.closerange(control_fd + 1, 1 << 16)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        module, _, function = program.partition(":")
        getattr(sys.modules[module], function)(control, job)
        code = 0
    except Exception as error:
        with suppress(OSError):
            text = clean_text(f"{type(error).__name__}: {error}")
            send(control, {"error": "Exception", "message": text})
    finally:
        os._exit(code)
