"""What a queue is, without stores, rows or locks: the referee of the stateful test."""

from dataclasses import dataclass, field

from service.jobs import JobState, Verdict

LIVE = (JobState.QUEUED, JobState.RUNNING)


@dataclass
class ModelJob:
    id: str  # the queue chose it
    number: int  # in the order of submission
    work: str
    priority: int
    result: str
    state: JobState = JobState.QUEUED
    attempt: int = 0
    fence: int = 0
    lease_until: float = 0.0
    not_before: float = 0.0
    cancel: bool = False


@dataclass
class Model:
    """Jobs of one tenant. Each method is told what the queue was told."""

    lease_s: float
    jobs: list[ModelJob] = field(default_factory=list)
    keys: dict[str, ModelJob] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)  # of each work

    def stands_for(self, work: str, key: str | None) -> ModelJob | None:
        """The job that answers a submission without a new one. KeyError: other work's key."""
        if key in self.keys:
            if self.keys[key].work != work:
                raise KeyError(key)
            return self.keys[key]
        live = [job for job in self.jobs if job.work == work and job.state in LIVE]
        return next((job for job in live if not job.cancel), None)

    def line(self, now: float) -> list[ModelJob]:
        """Who may be claimed, in the order of claims."""
        may = [
            job
            for job in self.jobs
            if (job.state is JobState.QUEUED and job.not_before <= now)
            or (self.is_lost(job, now) and job.attempt < 3 and not job.cancel)
        ]
        return sorted(may, key=lambda job: (-job.priority, job.number))

    def is_lost(self, job: ModelJob, now: float) -> bool:
        return job.state is JobState.RUNNING and job.lease_until <= now

    def claim(self, now: float) -> ModelJob | None:
        for job in self.jobs:
            if self.is_lost(job, now) and (job.cancel or job.attempt == 3):
                job.state = JobState.CANCELLED if job.cancel else JobState.FAILED
        line = self.line(now)
        if not line:
            return None
        job = line[0]
        job.state, job.lease_until = JobState.RUNNING, now + self.lease_s
        job.attempt += 1
        job.fence += 1
        return job

    def owns(self, job: ModelJob, fence: int) -> bool:
        return job.state is JobState.RUNNING and job.fence == fence

    def heartbeat(self, job: ModelJob, fence: int, now: float) -> Verdict:
        if not self.owns(job, fence):
            return Verdict.LOST
        job.lease_until = now + self.lease_s
        return Verdict.CANCEL if job.cancel else Verdict.GO_ON

    def succeed(self, job: ModelJob, fence: int) -> bool:
        if not self.owns(job, fence):
            return job.fence == fence and job.state is JobState.SUCCEEDED
        job.result = self.results.setdefault(job.work, job.result)
        job.state = JobState.SUCCEEDED
        return True

    def wait_again(self, job: ModelJob, not_before: float) -> None:
        job.state = JobState.CANCELLED if job.cancel else JobState.QUEUED
        job.not_before = not_before
