"""What a job is: one heatmap that somebody asked for, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.errors import IdempotencyMismatch, NotFound, QueueFull
from service.problems import problem

__all__ = [
    "LONGEST_RETRY_S",
    "MAX_ATTEMPTS",
    "Job",
    "JobState",
    "NewJob",
    "NewResult",
    "Submitted",
    "Verdict",
    "other_work",
    "queue_full",
    "slide_gone",
    "worker_lost",
]

MAX_ATTEMPTS = 3
LONGEST_RETRY_S = 30.0  # from a failed attempt to the next one


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Verdict(StrEnum):
    """What a queue answers to a heartbeat."""

    GO_ON = "go-on"
    CANCEL = "cancel"  # somebody asked to stop
    LOST = "lost"  # another worker has it now: throw the work away


@dataclass(frozen=True)
class NewJob:
    """What somebody asks for, before the queue has taken it."""

    tenant: str
    slide_id: str
    work_key: str  # sha256 of slide, model, parameters, code: equal work is done once for a tenant
    request: Mapping[str, Any]  # JSON: the fields of HeatmapRequest less the slide's path
    priority: int = 0  # of a tenant's jobs the larger goes first; of equal ones the older
    batch_id: str | None = None
    idempotency_key: str | None = None  # of the client; unique within a tenant
    key_id: str | None = None  # of the API key that asks: the result counts to its quota


@dataclass(frozen=True)
class Job:
    """A row of the queue, as it was when it was read. Times are Unix seconds, UTC."""

    id: str
    tenant: str
    slide_id: str
    work_key: str
    request: Mapping[str, Any]
    priority: int
    batch_id: str | None
    result_id: str  # reserved when the job was submitted; there is a result once it has succeeded
    cached: bool  # equal work had been done before
    state: JobState
    stage: str | None  # of the pipeline, while it runs
    done: int  # units of the stage
    total: int  # 0 where unknown
    attempt: int  # tries that began, less those that were handed back
    fence: int  # raised by each claim; what comes with an older one changes nothing
    worker: str | None
    lease_until: float | None  # after this another worker may have it
    not_before: float  # when it may be claimed
    cancel_requested: bool
    error: Mapping[str, Any] | None  # a problem: type, title, status, detail
    created_at: float
    started_at: float | None  # of the last attempt
    finished_at: float | None
    updated_at: float
    key_id: str | None  # of the API key that asked first


@dataclass(frozen=True)
class Submitted:
    job: Job
    created: bool  # False: this client's earlier job, or equal work that is under way


@dataclass(frozen=True)
class NewResult:
    """What a worker publishes together with its job's success."""

    id: str
    slide_id: str
    work_key: str
    size_bytes: int
    manifest_sha256: str


def other_work(key: str, job_id: str) -> IdempotencyMismatch:
    """What a client is told whose key stands for another job."""
    return IdempotencyMismatch(
        f"Idempotency-Key {key!r}: it came with other work before ({job_id}); "
        "use a new key for new work"
    )


def queue_full(limit: int, *, is_own: bool) -> QueueFull:
    """`is_own`: of one tenant's jobs, else of all."""
    whose = "of yours " if is_own else ""
    return QueueFull(f"{limit} jobs {whose}wait already; submit again later")


def slide_gone() -> NotFound:
    """As of a slide that never was."""
    return NotFound("no such slide")


def worker_lost() -> dict[str, Any]:
    """The problem of a job that no worker finished in MAX_ATTEMPTS tries."""
    return problem(
        "worker-lost",
        f"Each of its {MAX_ATTEMPTS} workers died or fell silent; submit it again to try anew.",
    )
