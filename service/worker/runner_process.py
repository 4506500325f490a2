"""The supervisor's hold on its runner: starts it, talks to it, ends it, says how it died."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from service.settings import Settings
from service.worker.channel import Channel, ChannelClosed

__all__ = ["RUNNER", "RunnerDied", "RunnerProcess"]

logger = logging.getLogger(__name__)

RUNNER = (sys.executable, "-m", "service.worker.runner")

NEEDED = {
    "model", "device", "precision", "batch_size", "sandbox", "reader_memory_bytes",
    "reader_timeout_s", "log_level", "log_format", "cache",
}  # fmt: skip
"""Settings that a runner gets. It gets no `WSI_…` variable: some of them are secrets."""

READY_S = 300.0  # of importing torch and loading weights from a cold disk
DEATH_S = 5.0


class RunnerDied(Exception):
    """The runner's process has ended, or was ended because it spoke nonsense."""


class RunnerProcess:
    """At most one process at a time. To be used by the thread that made it: the kernel ends a
    runner with the thread that started it."""

    def __init__(self, settings: Settings, command: Sequence[str] = RUNNER) -> None:
        self._settings, self._command = settings, command
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self.facts: Mapping[str, Any] = {}  # device, sandbox, version, once it is ready

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_ready(self) -> bool:
        return bool(self.facts) and self._process is not None and self._process.poll() is None

    def start(self, wake_fd: int = -1) -> bool:
        """Starts it and waits until it is ready; False where `wake_fd` told to stop waiting.

        Raises RunnerDied.
        """
        self.kill()
        self._process = subprocess.Popen(
            [*self._command, "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if not k.startswith("WSI_")},
        )
        orders, answers = _pipes(self._process)
        self._channel = Channel(answers.fileno(), orders.fileno())
        self._send({"settings": self._settings.model_dump(mode="json", include=NEEDED)})
        message = self.receive(READY_S, wake_fd)
        if message is None:
            return False
        self.facts = {name: message.get(name) for name in ("device", "sandbox", "version")}
        return True

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        slide: Path,
        folder: Path,
        sha256: str | None = None,
    ) -> None:
        """Raises RunnerDied."""
        order = {"job": job, "request": dict(request), "slide": str(slide), "folder": str(folder)}
        self._send({"do": "run", **order, "sha256": sha256})

    def let_write(self, job: str) -> None:
        """What a runner waits for after it said what it opened. Raises RunnerDied."""
        self._send({"do": "write", "job": job})

    def ask_to_stop(self, job: str) -> None:
        """Raises RunnerDied."""
        self._send({"do": "stop", "job": job})

    def receive(self, timeout_s: float, wake_fd: int = -1) -> dict[str, Any] | None:
        """The next message; None when time is up or `wake_fd` can be read. Raises RunnerDied."""
        assert self._channel
        try:
            return self._channel.receive(timeout_s, wake_fd)
        except ChannelClosed as error:
            raise RunnerDied(self._explain(error)) from error

    def kill(self) -> None:
        """Ends it at once, and waits until it has ended: nothing is written after that."""
        process, self._process, self._channel, self.facts = self._process, None, None, {}
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in _pipes(process):
            with suppress(BrokenPipeError):
                pipe.close()

    def close(self, timeout_s: float = DEATH_S) -> None:
        """Lets an idle runner end by itself: what it holds of a GPU is given back in order."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                _pipes(self._process)[0].close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._channel
        try:
            self._channel.send(message)
        except ChannelClosed as error:
            raise RunnerDied(self._explain(error)) from error

    def _explain(self, error: ChannelClosed) -> str:
        """How it ended, in words; a process that lives on without a channel is ended."""
        process = self._process
        assert process is not None
        with suppress(subprocess.TimeoutExpired):
            process.wait(DEATH_S)
        code = process.poll()
        self.kill()
        if code is None:
            return str(error)
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"{name}, often sent where memory is short" if name == "SIGKILL" else name


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    """What it reads, what it writes."""
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
