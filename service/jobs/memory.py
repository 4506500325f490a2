"""The queue in one process's memory: for tests, and to read what a queue means."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from service.errors import Conflict, NotFound
from service.ids import new_id
from service.jobs.job import (
    LONGEST_RETRY_S,
    MAX_ATTEMPTS,
    Job,
    JobState,
    NewJob,
    NewResult,
    Submitted,
    Verdict,
    other_work,
    queue_full,
    slide_gone,
    worker_lost,
)
from service.jobs.queue import Snapshot, WorkerSeen
from service.jobs.turns import MOST_RUNNING, Turn, jobs_ahead

__all__ = ["MemoryQueue"]

LIVE = (JobState.QUEUED, JobState.RUNNING)


IDLE: Mapping[str, Any] = {
    "worker": None,
    "lease_until": None,
    "stage": None,
    "done": 0,
    "total": 0,
}
"""Fields of a job that nobody works on."""


class MemoryQueue:
    """See `Queue`. It ends with the process. `results`: id of a live result, by tenant and work.
    `deleted_slides`: ids; any other slide is there."""

    def __init__(
        self,
        *,
        lease_s: float,
        max_queued: int,
        max_queued_per_tenant: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lease_s = lease_s
        self._max_queued = max_queued
        self._max_queued_per_tenant = max_queued_per_tenant
        self._clock = clock
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._job_of_key: dict[tuple[str, str], str] = {}
        self._workers: dict[str, WorkerSeen] = {}
        self.results: dict[tuple[str, str], str] = {}
        self.deleted_slides: set[str] = set()

    def submit(self, new: NewJob) -> Submitted:
        with self._lock:
            earlier = self._earlier(new)
            if earlier is not None:
                return Submitted(earlier, created=False)
            under_way = self._under_way(new)
            job = under_way or self._add(new)
            if new.idempotency_key is not None:
                self._job_of_key[new.tenant, new.idempotency_key] = job.id
            return Submitted(job, created=under_way is None)

    def get(self, tenant: str, job_id: str) -> Job:
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None or job.tenant != tenant:
            raise NotFound(f"{job_id}: there is no such job")
        return job

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None = None,
        state: JobState | None = None,
        batch_id: str | None = None,
    ) -> Sequence[Job]:
        with self._lock:
            found = [
                job
                for job in self._jobs.values()
                if job.tenant == tenant
                and (before is None or job.id < before)
                and (state is None or job.state is state)
                and (batch_id is None or job.batch_id == batch_id)
            ]
        return sorted(found, key=lambda job: job.id, reverse=True)[:limit]

    def snapshot(self, job_ids: Collection[str]) -> Mapping[str, Snapshot]:
        with self._lock:
            found = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
            return {job.id: Snapshot(job, self.position(job)) for job in found}

    def position(self, job: Job) -> int | None:
        with self._lock:
            now = self._jobs.get(job.id)
            if now is None or now.state is not JobState.QUEUED:
                return None
            own = (other for other in self._claimable() if other.tenant == now.tenant)
            before = sum(_rank(other) < _rank(now) for other in own)
            return jobs_ahead(self._turns(), now.tenant, before)

    def depth(
        self, tenant: str | None = None, states: Collection[JobState] = tuple(JobState)
    ) -> Mapping[JobState, int]:
        with self._lock:
            counted = Counter(
                job.state for job in self._jobs.values() if tenant in {None, job.tenant}
            )
        return {state: counted[state] for state in states}

    def claim(self, worker: str) -> Job | None:
        with self._lock:
            self._tidy()
            turns = self._turns()
            if not turns:
                return None
            first = min(turns, key=turns.__getitem__)
            job = min((job for job in self._claimable() if job.tenant == first), key=_rank)
            return self._put(
                job,
                state=JobState.RUNNING,
                worker=worker,
                stage=None,
                done=0,
                total=0,
                attempt=job.attempt + 1,
                fence=job.fence + 1,
                lease_until=self._clock() + self._lease_s,
                started_at=self._clock(),
            )

    def heartbeat(self, job: Job, stage: str | None, done: int, total: int) -> Verdict:
        with self._lock:
            mine = self._mine(job)
            if mine is None:
                return Verdict.LOST
            lease_until = self._clock() + self._lease_s
            self._put(mine, stage=stage, done=done, total=total, lease_until=lease_until)
            return Verdict.CANCEL if mine.cancel_requested else Verdict.GO_ON

    def succeed(self, job: Job, result: NewResult) -> bool:
        with self._lock:
            mine = self._mine(job)
            if mine is None:
                known = self._jobs.get(job.id)
                return (
                    known is not None
                    and known.fence == job.fence
                    and known.state is JobState.SUCCEEDED
                )
            kept = self.results.setdefault((job.tenant, result.work_key), result.id)
            self._end(mine, JobState.SUCCEEDED, result_id=kept, cached=kept != result.id)
            return True

    def fail(self, job: Job, problem: Mapping[str, Any], *, retry_in_s: float | None) -> bool:
        with self._lock:
            mine = self._mine(job)
            if mine is None:
                return False
            if retry_in_s is not None and mine.attempt < MAX_ATTEMPTS:
                self._wait_again(mine, not_before=self._clock() + retry_in_s)
            else:
                self._end(mine, JobState.FAILED, error=dict(problem))
            return True

    def confirm_cancel(self, job: Job) -> bool:
        with self._lock:
            mine = self._mine(job)
            if mine is None or not mine.cancel_requested:
                return False
            self._end(mine, JobState.CANCELLED)
            return True

    def hand_back(self, job: Job, *, retry_in_s: float = 0) -> bool:
        with self._lock:
            mine = self._mine(job)
            if mine is None:
                return False
            not_before = self._clock() + retry_in_s
            self._wait_again(mine, attempt=mine.attempt - 1, not_before=not_before)
            return True

    def cancel(self, tenant: str, job_id: str) -> Job:
        with self._lock:
            job = self.get(tenant, job_id)
            if job.state is JobState.CANCELLED:
                return job
            if job.state.is_final:
                raise Conflict(f"{job_id}: it has {job.state} already, and cannot be cancelled")
            if job.state is JobState.QUEUED or self._is_over(job):
                return self._end(job, JobState.CANCELLED, cancel_requested=True)
            return self._put(job, cancel_requested=True)

    def beat(self, worker: str, facts: Mapping[str, Any]) -> None:
        with self._lock:
            self._workers[worker] = WorkerSeen(worker, self._clock(), dict(facts))

    def workers(self, seen_within_s: float) -> Sequence[WorkerSeen]:
        with self._lock:
            seen = sorted(self._workers.values(), key=lambda worker: worker.id)
            return [one for one in seen if one.seen_at >= self._clock() - seen_within_s]

    def _earlier(self, new: NewJob) -> Job | None:
        """The job that this client's key stands for. Raises IdempotencyMismatch."""
        key = new.idempotency_key
        job_id = None if key is None else self._job_of_key.get((new.tenant, key))
        if job_id is None:
            return None
        job = self._jobs[job_id]
        if job.work_key != new.work_key:
            raise other_work(str(key), job_id)
        return job

    def _under_way(self, new: NewJob) -> Job | None:
        equal = (
            job
            for job in self._jobs.values()
            if (job.tenant, job.work_key) == (new.tenant, new.work_key)
            and job.state in LIVE
            and not job.cancel_requested
        )
        return next(equal, None)

    def _add(self, new: NewJob) -> Job:
        done = self.results.get((new.tenant, new.work_key))
        if done is None:
            if new.slide_id in self.deleted_slides:
                raise slide_gone()
            self._require_room(new.tenant)
        now = self._clock()
        job = Job(
            id=new_id("job", now),
            tenant=new.tenant,
            slide_id=new.slide_id,
            work_key=new.work_key,
            request=dict(new.request),
            priority=new.priority,
            batch_id=new.batch_id,
            result_id=done or new_id("res", now),
            cached=done is not None,
            state=JobState.QUEUED if done is None else JobState.SUCCEEDED,
            **IDLE,
            attempt=0,
            fence=0,
            not_before=0.0,
            cancel_requested=False,
            error=None,
            created_at=now,
            started_at=None,
            finished_at=None if done is None else now,
            updated_at=now,
            key_id=new.key_id,
        )
        self._jobs[job.id] = job
        return job

    def _require_room(self, tenant: str) -> None:
        for owner, limit in ((None, self._max_queued), (tenant, self._max_queued_per_tenant)):
            if self.depth(owner)[JobState.QUEUED] >= limit:
                raise queue_full(limit, is_own=owner is not None)

    def _claimable(self) -> Iterator[Job]:
        now = self._clock()
        for job in self._jobs.values():
            if job.state is JobState.QUEUED and job.not_before <= now:
                yield job
            if self._is_over(job) and not _is_hopeless(job):
                yield job

    def _turns(self) -> Mapping[str, Turn]:
        waiting = Counter(job.tenant for job in self._claimable())
        return {tenant: self._turn(tenant, number) for tenant, number in waiting.items()}

    def _turn(self, tenant: str, waiting: int) -> Turn:
        own = [job for job in self._jobs.values() if job.tenant == tenant]
        return Turn(
            min(sum((job.lease_until or 0) > self._clock() for job in own), MOST_RUNNING),
            max(job.started_at or 0.0 for job in own),
            min((job.id for job in own if job.state is JobState.QUEUED), default=""),
            waiting,
        )

    def _tidy(self) -> None:
        """What the lost workers and a clock that was put back left behind."""
        self._shorten()
        for job in list(self._jobs.values()):
            if not (self._is_over(job) and _is_hopeless(job)):
                continue
            if job.cancel_requested:
                self._end(job, JobState.CANCELLED)
            else:
                self._end(job, JobState.FAILED, error=worker_lost())

    def _shorten(self) -> None:
        now, lease_s = self._clock(), self._lease_s
        pause_s = max(LONGEST_RETRY_S, lease_s)
        for job in list(self._jobs.values()):
            if job.lease_until is not None and job.lease_until > now + 2 * lease_s:
                self._jobs[job.id] = replace(job, lease_until=now + lease_s)
            if job.state is JobState.QUEUED and job.not_before > now + 2 * pause_s:
                self._jobs[job.id] = replace(job, not_before=now + pause_s)

    def _mine(self, job: Job) -> Job | None:
        """The job as it is now, unless another worker has it or it has ended."""
        now = self._jobs.get(job.id)
        is_mine = now and now.fence == job.fence and now.state is JobState.RUNNING
        return now if is_mine else None

    def _is_over(self, job: Job) -> bool:
        return job.lease_until is not None and job.lease_until <= self._clock()

    def _wait_again(self, job: Job, **fields: Any) -> Job:
        """Queued once more, unless somebody cancelled it meanwhile."""
        idle = replace(job, **IDLE, **fields)
        if job.cancel_requested:
            return self._end(idle, JobState.CANCELLED)
        return self._put(idle, state=JobState.QUEUED)

    def _end(self, job: Job, state: JobState, **fields: Any) -> Job:
        fields |= {"state": state, "lease_until": None, "finished_at": self._clock()}
        return self._put(job, **fields)

    def _put(self, job: Job, **fields: Any) -> Job:
        self._jobs[job.id] = replace(job, **{"updated_at": self._clock()} | fields)
        return self._jobs[job.id]


def _rank(job: Job) -> tuple[int, str]:
    return -job.priority, job.id


def _is_hopeless(job: Job) -> bool:
    return job.attempt >= MAX_ATTEMPTS or job.cancel_requested
