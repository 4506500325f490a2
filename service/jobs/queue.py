"""What a job store does. Each store inherits `QueueContract` of the tests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.jobs.job import Job, JobState, NewJob, NewResult, Submitted, Verdict

__all__ = ["Queue", "Snapshot", "WorkerSeen"]


@dataclass(frozen=True)
class WorkerSeen:
    """The last sign of life of a worker."""

    id: str
    seen_at: float
    facts: Mapping[str, Any]  # device, sandbox mode, software version


@dataclass(frozen=True)
class Snapshot:
    """A job, and where it stands in the queue: see Queue.position()."""

    job: Job
    position: int | None


class Queue(Protocol):
    """A list of jobs that several processes share. Safe to call from several threads.

    Methods that take a `Job` are for its owner, and compare its id and fence: where another worker
    has claimed it since they change nothing and return False (or Verdict.LOST).
    """

    def submit(self, new: NewJob) -> Submitted:
        """Adds a job, or returns the one that stands for it.

        The same idempotency key: the job of before. Equal work that is queued or running: that
        job. Equal work that has a result: a new job that has succeeded already (`cached`).
        Raises IdempotencyMismatch (the key was used for other work), QueueFull, NotFound (there is
        work to do, and its slide was deleted).
        """
        ...

    def get(self, tenant: str, job_id: str) -> Job:
        """Raises NotFound, also where the job is another tenant's."""
        ...

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None = None,
        state: JobState | None = None,
        batch_id: str | None = None,
    ) -> Sequence[Job]:
        """The newest first, at most `limit`, those with an id smaller than `before`."""
        ...

    def snapshot(self, job_ids: Collection[str]) -> Mapping[str, Snapshot]:
        """Those of the jobs that exist, of whatever tenant, each as it is now; in one query or two.

        For a process that watches many jobs for those who may see them.
        """
        ...

    def position(self, job: Job) -> int | None:
        """How many jobs of any tenant would be claimed before it, if none came or ended; None
        unless it is queued."""
        ...

    def depth(
        self, tenant: str | None = None, states: Collection[JobState] = tuple(JobState)
    ) -> Mapping[JobState, int]:
        """How many jobs are in each of the states: of a tenant, or of all.

        Jobs that have ended are many; whoever does not need their number leaves their states out.
        """
        ...

    def claim(self, worker: str) -> Job | None:
        """The next job that may run, now this worker's: its fence raised, its lease begun.

        Tenants take turns (see `service.jobs.turns`); a priority counts within a tenant.

        A job whose lease is over counts as waiting; after MAX_ATTEMPTS it fails instead
        (`worker-lost`), and where somebody had cancelled it, it is cancelled.
        """
        ...

    def heartbeat(self, job: Job, stage: str | None, done: int, total: int) -> Verdict:
        """Prolongs the lease and says where the work is."""
        ...

    def succeed(self, job: Job, result: NewResult) -> bool:
        """The result and the job's success, in one transaction.

        Where the tenant has a result of equal work already, the job points to that one (`cached`)
        and the new result is not recorded: compare `get(...).result_id`.
        """
        ...

    def fail(self, job: Job, problem: Mapping[str, Any], *, retry_in_s: float | None) -> bool:
        """Failed for good (None, or no attempt is left), or queued again for later."""
        ...

    def confirm_cancel(self, job: Job) -> bool:
        """The owner has stopped a job that somebody cancelled."""
        ...

    def hand_back(self, job: Job, *, retry_in_s: float = 0) -> bool:
        """Queued again, at once or for later; the attempt does not count. For a worker that shuts
        down, or cannot begin."""
        ...

    def cancel(self, tenant: str, job_id: str) -> Job:
        """A queued job is cancelled at once; a running one when its owner asks next.

        Raises NotFound, Conflict where the job is final already (unless it is cancelled).
        """
        ...

    def beat(self, worker: str, facts: Mapping[str, Any]) -> None:
        """A worker is alive, with or without a job."""
        ...

    def workers(self, seen_within_s: float) -> Sequence[WorkerSeen]: ...
