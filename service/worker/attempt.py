"""One try at one job: the runner works, the queue is told, whoever wants it to stop is heard."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.jobs.job import Job, Verdict
from service.settings import Settings
from service.worker.failure import Failure, lost_runner
from service.worker.runner_process import RunnerDied, RunnerProcess

__all__ = ["Attempt", "Ended", "Outcome", "Why"]

TELL_EVERY_S = 0.5
"""Between two heartbeats that carry news: people watch the progress."""

ASK_EVERY_S = 2.0
"""Between two heartbeats at most: a cancel is heard soon, also in a stage without news."""

STOP_S = 2.0
"""What a runner gets to stop at its next batch before it is ended."""


class Why(StrEnum):
    """Why a job is stopped before its end."""

    CANCELLED = "cancelled"
    LOST = "lost"  # another worker has it
    TOO_LONG = "too long"
    SHUTDOWN = "shutdown"
    REFUSED = "refused"  # there is no room for its result


class Outcome(StrEnum):
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Ended:
    """How an attempt ended. `why`: what stopped it, or came too late to do so."""

    outcome: Outcome
    why: Why | None = None
    failure: Failure | None = None


@dataclass
class Attempt:
    """heartbeat: tells the queue (stage, done, total) and brings its verdict. on_open: is told what
    the slide's header says. hold: takes room for so many bytes, or says why there is none. wake_fd:
    can be read once `is_stopping` turns true."""

    job: Job
    runner: RunnerProcess
    settings: Settings
    heartbeat: Callable[[str | None, int, int], Verdict]
    on_open: Callable[[Mapping[str, Any]], object]
    hold: Callable[[int], Failure | None]
    is_stopping: Callable[[], bool]
    wake_fd: int = -1
    _why: Why | None = field(default=None, init=False)
    _refusal: Failure | None = field(default=None, init=False)
    _kill_at: float = field(default=math.inf, init=False)
    _where: tuple[str | None, int, int] = field(default=(None, 0, 0), init=False)
    _has_news: bool = field(default=False, init=False)
    _told_at: float = field(default_factory=time.monotonic, init=False)
    _deadline: float = field(init=False)

    def run(self, slide: Path, folder: Path, sha256: str | None = None) -> Ended:
        """Until the runner has ended with it, by itself or by force. sha256: see Slides."""
        self._deadline = time.monotonic() + self.settings.job_timeout_s
        try:
            self.runner.run(self.job.id, self.job.request, slide, folder, sha256)
            return self._follow()
        except RunnerDied as died:
            if self._why is not None:
                return self._stopped()
            return Ended(Outcome.FAILED, failure=lost_runner(str(died)))

    def _follow(self) -> Ended:
        ended = None
        while ended is None:
            message = self.runner.receive(self._wait_s(), self.wake_fd if self._why is None else -1)
            if message is not None and message.get("job") == self.job.id:
                ended = self._hear(message)
            if ended is None:
                self._tell_if_due()
                ended = self._stop_if_due()
        return ended

    def _hear(self, message: Mapping[str, Any]) -> Ended | None:
        what = message.get("say")
        if what == "progress":
            where = (str(message["stage"]), int(message["done"]), int(message["total"]))
            self._has_news = self._has_news or where != self._where
            self._where = where
        elif what == "opened":
            self.on_open(message["facts"])
            self._hold(int(message["room"]))
        elif what == "done":
            self._tell()  # a cancel is heard as long as nothing is published
            return Ended(Outcome.DONE, self._why)
        elif what == "stopped":
            return self._stopped()
        elif what == "failed":
            return self._failed(message)
        return None

    def _failed(self, message: Mapping[str, Any]) -> Ended:
        failure = Failure(
            message["problem"], bool(message["is_foreseen"]), bool(message["is_held"])
        )
        if not failure.is_foreseen:
            self.runner.kill()
        return Ended(Outcome.FAILED, self._why, failure)

    def _stopped(self) -> Ended:
        return Ended(Outcome.STOPPED, self._why, self._refusal)

    def _hold(self, size_bytes: int) -> None:
        """The runner waits for the word, and finds itself stopped where there is no room."""
        self._refusal = self.hold(size_bytes)
        if self._refusal is not None:
            self._ask(Why.REFUSED, STOP_S)
        self.runner.let_write(self.job.id)

    def _tell_if_due(self) -> None:
        if time.monotonic() >= self._tell_at() and self._why is not Why.LOST:
            self._tell()

    def _tell(self) -> None:
        self._told_at, self._has_news = time.monotonic(), False
        verdict = self.heartbeat(*self._where)
        if verdict is Verdict.CANCEL:
            self._ask(Why.CANCELLED, STOP_S)
        elif verdict is Verdict.LOST:
            self._ask(Why.LOST, STOP_S)

    def _tell_at(self) -> float:
        longest = TELL_EVERY_S if self._has_news else ASK_EVERY_S
        return self._told_at + min(longest, self.settings.heartbeat_s)

    def _stop_if_due(self) -> Ended | None:
        now = time.monotonic()
        if self._why is None and self.is_stopping():
            self._ask(Why.SHUTDOWN, self.settings.shutdown_s)
        elif self._why is None and now >= self._deadline:
            self._ask(Why.TOO_LONG, STOP_S)
        if now < self._kill_at:
            return None
        self.runner.kill()
        return self._stopped()

    def _ask(self, why: Why, grace_s: float) -> None:
        """Tells the runner to stop. A later reason counts more than one to shut down."""
        if self._why in (None, Why.SHUTDOWN):
            self._why = why
            self._kill_at = min(self._kill_at, time.monotonic() + grace_s)
            self.runner.ask_to_stop(self.job.id)

    def _wait_s(self) -> float:
        due = min(self._tell_at(), self._kill_at)
        if self._why is None:
            due = min(due, self._deadline)
        return max(0.0, due - time.monotonic())
