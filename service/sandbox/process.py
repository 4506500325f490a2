"""The parent's side of one reader process: asks, waits, doubts the answers, and buries it."""

import logging
import mmap
import os
import queue
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wsi.errors
from service.errors import DecoderCrashed, DecoderTimeout
from service.sandbox.description import clean_text, leave_out_names
from service.sandbox.launcher import Ended, Launcher
from service.sandbox.memory import create_memory, round_up
from service.sandbox.wire import (
    MAX_TAIL_BYTES,
    BadMessage,
    Message,
    SandboxLimits,
    receive,
    send,
)
from wsi.errors import WsiError
from wsi.geometry import Box

__all__ = ["ReaderProcess"]

logger = logging.getLogger(__name__)

MAX_REPLY_BYTES = 16 << 10  # of a read: a few numbers, or an error's sentence
DYING_S = 0.5
ERRORS: dict[str, type[WsiError]] = {name: getattr(wsi.errors, name) for name in wsi.errors.__all__}
"""What a reader process may have the parent raise."""


class ReaderProcess:
    """A reader process over one slide. Several threads may read; its death ends all their reads.

    Errors call the slide by the job's `name`, and by its path where that is None.
    """

    def __init__(self, launcher: Launcher, job: dict[str, Any], limits: SandboxLimits) -> None:
        self._path, self._name = job["path"], job["name"]
        self._launcher = launcher
        self._limits = limits
        self._lock = threading.Lock()
        self._failure: DecoderCrashed | DecoderTimeout | None = None
        self._ended = False
        self._ids = count(1)
        self._lines: queue.LifoQueue[_Line | None] = queue.LifoQueue()
        for _ in range(limits.threads):
            self._lines.put(None)  # made when it is needed
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._started = launcher.start(job | {"limits": limits.to_json()}, theirs)
            except BaseException:
                self._control.close()
                raise

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def failure(self) -> DecoderCrashed | DecoderTimeout | None:
        """Why no read will succeed any more."""
        return self._failure

    def await_opened(self) -> Message:
        """Its first message: mode, and the slide's description with its ICC profile as the tail.

        Raises the WsiError that opening the slide raised, DecoderCrashed, DecoderTimeout.
        """
        deadline = time.monotonic() + self._limits.open_timeout_s
        try:
            message = receive(self._control, deadline=deadline, max_tail_bytes=MAX_TAIL_BYTES)
            self._raise_stated(message.body)
        except (ConnectionError, TimeoutError, EOFError, BadMessage) as error:
            raise self.fail(error, self._limits.open_timeout_s) from error
        return message

    def read(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        """A box inside the level into `out`, as wsi.readers.base.read_shrunk() does it. Errors as
        Slide.read_level, and as await_opened()."""
        line = self._lines.get()
        try:
            if self._failure is not None:
                raise self._repeated(self._failure)
            line = line or self._connect()
            self._ask(line, level, box, out)
        except (ConnectionError, TimeoutError, EOFError, BadMessage) as error:
            raise self.fail(error, self._limits.read_timeout_s) from error
        finally:
            if line is not None and not line.is_clear:  # interrupted; an answer may still come
                line.close()
                line = None
            self._lines.put(line)

    def fail(self, error: Exception, timeout_s: float) -> DecoderCrashed | DecoderTimeout:
        """Ends the process for what `error` says; the same failure stands for all later reads."""
        with self._lock:
            if self._failure is None:
                # its connections end a moment before it does
                is_dying = isinstance(error, EOFError | ConnectionError)
                ended = self._end(DYING_S if is_dying else 0.0)
                self._failure = self._explain(error, ended, timeout_s)
                # no path, and no text that comes from the process: either may name a patient
                kind = type(self._failure).__name__
                logger.warning("reader process %s: %s (%s)", self.pid, kind, ended.cause)
            return self._repeated(self._failure)

    def close(self) -> None:
        """Ends the process. No read may be going on."""
        with self._lock:
            self._end()
            self._control.close()
            for _ in range(self._lines.qsize()):
                line = self._lines.get()
                if line is not None:
                    line.close()

    def _end(self, wait_s: float = 0.0) -> Ended:
        if self._ended:
            return Ended(None)
        self._ended = True
        ended = self._launcher.end(self._started, wait_s=wait_s)
        logger.debug("reader process %s ended: %s", self.pid, ended)
        return ended

    def _connect(self) -> "_Line":
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            deadline = time.monotonic() + self._limits.read_timeout_s
            with self._lock:
                send(self._control, {}, fds=[theirs.fileno()], deadline=deadline)
            undo.pop_all()
        return _Line(ours)

    def _ask(self, line: "_Line", level: int, box: Box, out: NDArray[np.uint8]) -> None:
        deadline = time.monotonic() + self._limits.read_timeout_s
        number = next(self._ids)
        request = {"id": number, "level": level, "box": box, "shape": out.shape}
        body = line.ask(request, out.size, deadline)
        if body.get("id") != number:
            raise BadMessage("the answer to another request")
        self._raise_stated(body)
        if body != {"id": number, "shape": list(out.shape), "bytes": out.size}:
            raise BadMessage("pixels of another shape than was asked for")
        line.copy_pixels(out)

    def _raise_stated(self, body: dict[str, Any]) -> None:
        """The error that the process reports."""
        if "error" not in body:
            return
        name, message = body["error"], body.get("message")
        if not isinstance(name, str) or not isinstance(message, str):
            raise BadMessage("an error that is no text")
        message = clean_text(message)
        if self._name is not None:
            message = leave_out_names(message, self._path, self._name)
        if name in ERRORS:
            raise ERRORS[name](message)
        if name == "MemoryError":
            raise _OutOfMemory
        raise BadMessage(message)

    def _explain(
        self, error: Exception, ended: Ended, timeout_s: float
    ) -> DecoderCrashed | DecoderTimeout:
        slide = self._path if self._name is None else self._name
        if isinstance(error, TimeoutError):
            return DecoderTimeout(
                f"{slide}: the decoder did not answer within {timeout_s:g} s and was ended; "
                "the file is damaged, or the machine too busy: export it again, or try later"
            )
        if isinstance(error, _OutOfMemory):
            limit = self._limits.memory_bytes >> 20
            why = f"it wanted more than {limit} MiB of memory"
        elif isinstance(error, BadMessage):
            why = f"no valid answer: {error}"
        else:
            why = ended.cause
        return DecoderCrashed(
            f"{slide}: the decoder failed over this file ({why}); it is damaged or made to "
            "do harm: export it again from its source"
        )

    @staticmethod
    def _repeated(
        failure: DecoderCrashed | DecoderTimeout,
    ) -> DecoderCrashed | DecoderTimeout:
        """One of its own for each reader: an exception that is raised twice mixes its traces."""
        return type(failure)(*failure.args)


class _OutOfMemory(BadMessage):
    """The process met its memory limit, and knows it."""


@dataclass
class _Line:
    """A connection to one thread of the process, with memory of its own."""

    sock: socket.socket
    memory: mmap.mmap | None = None
    is_clear: bool = True  # no answer is on its way

    def ask(self, request: dict[str, Any], size_bytes: int, deadline: float) -> dict[str, Any]:
        fds = [] if self.memory and len(self.memory) >= size_bytes else [self._grow(size_bytes)]
        self.is_clear = False
        try:
            send(self.sock, request, fds=fds, deadline=deadline)
        finally:
            for fd in fds:
                os.close(fd)
        message = receive(self.sock, deadline=deadline, max_json_bytes=MAX_REPLY_BYTES)
        self.is_clear = True
        return message.body

    def copy_pixels(self, out: NDArray[np.uint8]) -> None:
        """The process can still write to what it shares."""
        out[...] = np.frombuffer(self.memory or b"", np.uint8, out.size).reshape(out.shape)

    def close(self) -> None:
        self.sock.close()
        if self.memory is not None:
            self.memory.close()

    def _grow(self, size_bytes: int) -> int:
        memory, self.memory = self.memory, None
        if memory is not None:
            memory.close()
        fd, self.memory = create_memory(round_up(size_bytes))
        return fd
