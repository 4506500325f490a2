"""The parent's hold on the fork server: starts reader processes and ends them."""

import atexit
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from service.errors import DecoderCrashed
from service.sandbox.wire import BadMessage, receive, send

__all__ = ["Ended", "Launcher", "Started", "shared_launcher"]

logger = logging.getLogger(__name__)

PACKAGES = Path(__file__).resolve().parents[2]
START = (
    "import sys; sys.path += sys.argv[3:]; "
    "from service.sandbox.zygote import main; main(int(sys.argv[1]), sys.argv[2])"
)
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # a process with threads cannot be forked
    "OMP_NUM_THREADS": "1",
    # memory that one read frees is kept for the next: without this a megapixel of JPEG takes 35 ms
    # instead of 26, most of it page faults
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
"""All of it: what the parent's environment holds is none of a decoder's business."""

START_S = 120.0  # of a cold disk; 0.6 s of a warm one
ANSWER_S = 30.0


@dataclass(frozen=True)
class Ended:
    """How a reader process ended, and what it used."""

    status: int | None  # exit code, or minus the signal's number; None: it was ended by us
    peak_bytes: int = 0  # of resident memory, 90 MiB of which it shares with the others
    cpu_s: float = 0.0

    @property
    def cause(self) -> str:
        if self.status is None:
            return "ended"
        if self.status >= 0:
            return f"exit code {self.status}"
        return signal.Signals(-self.status).name


@dataclass(frozen=True)
class Started:
    """A reader process, and the fork server that it hangs on."""

    pid: int
    server: int


class Launcher:
    """One fork server, started by its first use. Safe to use from several threads.

    `program` is what a reader process runs, "module:function"; `search` are folders where it is
    looked for besides this project's own.
    """

    def __init__(
        self, program: str = "service.sandbox.child:run", search: Sequence[Path] = ()
    ) -> None:
        self._arguments = [program, str(PACKAGES), *map(str, search)]
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def start(self, job: dict[str, Any], control: socket.socket) -> Started:
        """A new reader process that holds a copy of `control`; it is no child of this process.

        A dead fork server is started again. Raises DecoderCrashed where that fails too.
        """
        with self._lock:
            for attempt in (1, 2):
                try:
                    reply = self._ask(job, (control.fileno(),))
                    return Started(int(reply["pid"]), self._server.pid if self._server else 0)
                except (OSError, EOFError, BadMessage) as error:
                    self._shut()
                    if attempt == 2:
                        raise DecoderCrashed(
                            f"no reader process can be started ({error!r}); see the log"
                        ) from error
        raise AssertionError("unreachable")

    def end(self, started: Started, *, wait_s: float = 0.0) -> Ended:
        """Ends it if it does not end by itself in `wait_s`, and frees its id. Once for each."""
        with self._lock:
            if started.server != self.server_pid or self._owner != os.getpid():
                return Ended(None)  # with a server all its processes end
            try:
                reply = self._ask({"end": started.pid, "wait_s": wait_s}, ())
            except (OSError, EOFError, BadMessage):
                self._shut()
                return Ended(None)
        status = reply.get("status")
        return Ended(status, reply.get("peak_kib", 0) << 10, reply.get("cpu_s", 0.0))

    def close(self) -> None:
        """Ends the fork server and all reader processes. May be called twice."""
        with self._lock:
            self._shut()

    @property
    def server_pid(self) -> int | None:
        return self._server.pid if self._server else None

    def _ask(self, body: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        link = self._connect()
        deadline = time.monotonic() + ANSWER_S
        send(link, body, fds=fds, deadline=deadline)
        return receive(link, deadline=deadline).body

    def _connect(self) -> socket.socket:
        if self._owner != os.getpid():  # this process was forked from the one that started it
            self._link = self._server = None
            self._owner = os.getpid()
        if self._link is None:
            self._link = self._start_server()
        return self._link

    def _start_server(self) -> socket.socket:
        began = time.monotonic()
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as errors:
            try:
                with theirs:
                    self._server = self._run_server(theirs.fileno(), errors)
                ready = receive(ours, deadline=began + START_S)
            except (OSError, EOFError, BadMessage):
                ours.close()
                errors.seek(0)
                logger.error("no fork server of readers: %s", errors.read()[-4000:])
                raise
        seconds = time.monotonic() - began
        logger.info("fork server %s of readers started in %.2f s", ready.body["pid"], seconds)
        return ours

    def _run_server(self, link_fd: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-B", "-c", START, str(link_fd), *self._arguments]
        return subprocess.Popen(
            command,
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=[link_fd],
            start_new_session=True,
        )

    def _shut(self) -> None:
        link, server, self._link, self._server = self._link, self._server, None, None
        if link is not None:
            link.close()
        if server is not None:
            server.kill()
            server.wait()


@cache
def shared_launcher() -> Launcher:
    """The one of this process."""
    launcher = Launcher()
    atexit.register(launcher.close)
    return launcher
