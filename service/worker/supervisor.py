"""The light half of a worker: takes jobs, has them done, tells the queue what became of them."""

import logging
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.access.auth import Owner
from service.errors import JobTimeout, NotFound, ServiceError
from service.jobs.job import MAX_ATTEMPTS, Job, JobState, Verdict
from service.jobs.queue import Queue
from service.problems import problem_of
from service.settings import Settings
from service.worker.attempt import Attempt, Ended, Outcome, Why
from service.worker.failure import RETRY_S, Failure, failure_of, retry_delay_s
from service.worker.faults import Fault, no_fault
from service.worker.folder import describe_result, discard, is_held
from service.worker.runner_process import RUNNER, RunnerDied, RunnerProcess

__all__ = ["Slides", "Supervisor"]

logger = logging.getLogger(__name__)

DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeout)
"""The database is away, locked or its disk is full: it will be asked again."""

LONGEST_PAUSE_S = 60.0

Answer = TypeVar("Answer")


class Slides(Protocol):
    """What a worker needs of the library."""

    def path_of(self, tenant: str, slide_id: str) -> Path:
        """What open_slide() takes. Raises NotFound."""
        ...

    def pinned_sha256(self, tenant: str, slide_id: str) -> str | None:
        """What a slide's files must have, where somebody else may change them. Raises NotFound."""
        ...

    def set_facts(self, tenant: str, slide_id: str, facts: Mapping[str, Any]) -> None: ...

    def reserve(self, owner: Owner, size_bytes: int) -> AbstractContextManager[object]:
        """Room that counts to the owner until it is left. Raises NoSpace, QuotaExceeded."""
        ...


class Supervisor:
    """One job at a time, by one runner. All of it runs in the thread that calls run(); stop() may
    come from anywhere, a signal handler too."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        slides: Slides,
        *,
        worker_id: str,
        command: Sequence[str] = RUNNER,
        fault: Fault = no_fault,
        retry_s: float = RETRY_S,
    ) -> None:
        self._settings, self._queue, self._slides = settings, queue, slides
        self._id, self._fault, self._retry_s = worker_id, fault, retry_s
        self._runner = RunnerProcess(settings, command)
        self._stopping = False
        self._wake_fd, self._waker_fd = os.pipe()
        self._beaten_at = float("-inf")
        self._failed_starts = 0

    def run(self, *, until_empty: bool = False) -> None:
        """Until stop(), or until no job can be claimed. Ends its runner."""
        try:
            while not self._stopping:
                if not self._has_runner():
                    continue
                self._beat_if_due()
                job = self._claim()
                if job is not None:
                    self._work_on(job)
                elif until_empty:
                    return
                else:
                    self._pause(self._settings.poll_s)
        finally:
            self._runner.close()

    def stop(self) -> None:
        """No further job; the present one stops at its next batch and is handed back."""
        self._stopping = True
        os.write(self._waker_fd, b"\0")

    def _has_runner(self) -> bool:
        if self._runner.is_ready:
            return True
        try:
            is_ready = self._runner.start(self._wake_fd)
        except RunnerDied as died:
            self._failed_starts += 1
            logger.error("the runner did not start: %s", died, extra={"worker": self._id})
            self._pause(min(LONGEST_PAUSE_S, self._retry_s * 2 ** (self._failed_starts - 1)))
            return False
        self._failed_starts, self._beaten_at = 0, float("-inf")
        return is_ready

    def _beat_if_due(self) -> None:
        now = time.monotonic()
        if now - self._beaten_at < self._settings.heartbeat_s or not self._runner.facts:
            return
        self._beaten_at = now
        try:
            self._queue.beat(self._id, self._runner.facts)
        except DATABASE_ERRORS as error:
            self._complain(error)

    def _claim(self) -> Job | None:
        try:
            return self._queue.claim(self._id)
        except DATABASE_ERRORS as error:
            self._complain(error)
            self._pause(self._settings.poll_s)
            return None

    def _work_on(self, job: Job) -> None:
        self._log(job, "attempt %d begins", job.attempt)
        self._fault("after-claim")
        folder = self._settings.data / "results" / job.result_id
        folder.parent.mkdir(parents=True, exist_ok=True)
        if is_held(folder):  # before the slide is read for nothing
            self._wait_for_holder(job)
            return
        with ExitStack() as room:  # held until the queue knows the result, which then counts
            ended = self._try(job, folder, room)
            self._log(job, "attempt ended: %s", ended)
            self._settle(job, folder, ended)

    def _try(self, job: Job, folder: Path, room: ExitStack) -> Ended:
        try:
            found = self._insist(lambda: self._find_slide(job))
        except ServiceError as error:
            return Ended(Outcome.FAILED, failure=failure_of(error, folder, folder))
        if found is None:
            return Ended(Outcome.STOPPED, Why.SHUTDOWN)
        return self._attempt(job, folder, room, *found)

    def _find_slide(self, job: Job) -> tuple[Path, str | None]:
        path = self._slides.path_of(job.tenant, job.slide_id)
        return path, self._slides.pinned_sha256(job.tenant, job.slide_id)

    def _attempt(
        self, job: Job, folder: Path, room: ExitStack, slide: Path, sha256: str | None
    ) -> Ended:
        attempt = Attempt(
            job,
            self._runner,
            self._settings,
            heartbeat=lambda *where: self._heartbeat(job, *where),
            on_open=lambda facts: self._keep_facts(job, facts),
            hold=lambda size_bytes: self._hold(job, folder, room, size_bytes),
            is_stopping=lambda: self._stopping,
            wake_fd=self._wake_fd,
        )
        return attempt.run(slide, folder, sha256)

    def _heartbeat(self, job: Job, stage: str | None, done: int, total: int) -> Verdict:
        self._beat_if_due()
        try:
            return self._queue.heartbeat(job, stage, done, total)
        except DATABASE_ERRORS as error:  # the fence decides in the end, whatever happens to it
            self._complain(error)
            return Verdict.GO_ON

    def _keep_facts(self, job: Job, facts: Mapping[str, Any]) -> None:
        try:
            self._slides.set_facts(job.tenant, job.slide_id, facts)
        except (*DATABASE_ERRORS, NotFound) as error:
            self._complain(error)

    def _hold(self, job: Job, folder: Path, room: ExitStack, size_bytes: int) -> Failure | None:
        owner = Owner(job.tenant, job.key_id)
        try:
            held = self._insist(lambda: self._slides.reserve(owner, size_bytes))
        except (ServiceError, OSError) as error:
            return failure_of(error, folder, folder)
        if held is not None:  # else the worker stops, and so will the runner
            room.enter_context(held)
        return None

    def _settle(self, job: Job, folder: Path, ended: Ended) -> None:
        if ended.why is Why.CANCELLED:
            discard(folder)
            self._insist(lambda: self._queue.confirm_cancel(job))
        elif ended.outcome is Outcome.DONE:
            self._commit(job, folder)
        elif ended.why is Why.TOO_LONG:
            self._fail(job, folder, _too_long(self._settings.job_timeout_s))
        elif ended.why is Why.SHUTDOWN:
            self._insist(lambda: self._queue.hand_back(job))
        elif ended.why is not Why.LOST:
            assert ended.failure is not None
            if ended.failure.is_held:
                self._wait_for_holder(job)
            else:
                self._fail(job, folder, ended.failure)
        self._discard_if_orphaned(job, folder)

    def _commit(self, job: Job, folder: Path) -> None:
        try:
            result = describe_result(job, folder)
        except FileNotFoundError:  # cancelled meanwhile, and taken away; else the lease ends
            logger.warning("the result is gone", extra={"job": job.id, "slide": job.slide_id})
            return
        self._fault("before-commit")
        self._insist(lambda: self._queue.succeed(job, result))
        self._fault("after-commit")

    def _fail(self, job: Job, folder: Path, failure: Failure) -> None:
        """What is on disk stays for the next attempt. With the last one it goes: what is unfinished
        at once, for where the disk is full the database can be told nothing before; what is
        published, once the queue has said that the job is over: until then it may be what another
        worker made."""
        retry_in_s = retry_delay_s(failure, job.attempt, self._retry_s)
        if retry_in_s is None or job.attempt >= MAX_ATTEMPTS:
            discard(folder, unfinished_only=True)
        self._insist(lambda: self._queue.fail(job, failure.problem, retry_in_s=retry_in_s))

    def _wait_for_holder(self, job: Job) -> None:
        """A process that lost the job goes on with it, or stands still and still has its folder.
        The job cannot help it, so that no attempt counts, however long it takes."""
        extra = {"job": job.id, "slide": job.slide_id}
        logger.warning("another process still writes the result: the job waits", extra=extra)
        self._insist(lambda: self._queue.hand_back(job, retry_in_s=self._settings.lease_s))

    def _discard_if_orphaned(self, job: Job, folder: Path) -> None:
        """Where the job is over and its result is not this one (cancelled meanwhile, or equal work
        was published first) nobody will ask for the folder; else it belongs to the job, whoever
        works on it now."""
        try:
            now = self._queue.get(job.tenant, job.id)
        except NotFound:
            discard(folder)
            return
        except DATABASE_ERRORS as error:  # it is left to the garbage collection
            self._complain(error)
            return
        has_it = now.state is JobState.SUCCEEDED and now.result_id == job.result_id
        if now.state.is_final and not has_it:
            discard(folder)

    def _insist(self, ask: Callable[[], Answer]) -> Answer | None:
        """Asks the database until it has answered; None where the worker has to stop before that:
        the lease then ends by itself."""
        while True:
            try:
                return ask()
            except DATABASE_ERRORS as error:
                self._complain(error)
                if self._stopping:
                    return None
                self._pause(self._settings.poll_s)

    def _pause(self, seconds: float) -> None:
        """Shorter where stop() comes."""
        if not self._stopping:
            select.select([self._wake_fd], [], [], seconds)

    def _log(self, job: Job, text: str, *values: object) -> None:
        logger.info(text, *values, extra={"job": job.id, "slide": job.slide_id})

    def _complain(self, error: Exception) -> None:
        """Without its text, which may hold a statement's values."""
        logger.warning("the database: %s", type(error).__name__, extra={"worker": self._id})


def _too_long(limit_s: float) -> Failure:
    error = JobTimeout(f"the job ran longer than the {limit_s:g} s that this service allows")
    return Failure(problem_of(error), is_foreseen=True)
