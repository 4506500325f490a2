"""Jobs and results with defaults, and how far a test wants them."""

import threading
from collections.abc import Callable
from typing import Any

from service.jobs import Job, NewJob, NewResult, Queue

LEASE_S = 60.0
PROBLEM = {"type": "/problems/corrupt-slide", "title": "damaged", "status": 422, "detail": "x"}


def new_job(work: str = "work", tenant: str = "ann", **fields: Any) -> NewJob:
    given: dict[str, Any] = {"slide_id": "sld_1", "request": {"model": "idc", "mpp": None}} | fields
    return NewJob(tenant=tenant, work_key=work, **given)


def result_of(job: Job, **fields: Any) -> NewResult:
    given: dict[str, Any] = {
        "id": job.result_id,
        "slide_id": job.slide_id,
        "work_key": job.work_key,
        "size_bytes": 1000,
        "manifest_sha256": "ab" * 32,
    }
    return NewResult(**given | fields)


def claimed(queue: Queue, worker: str = "w1") -> Job:
    job = queue.claim(worker)
    assert job is not None
    return job


def start(queue: Queue, new: Any, worker: str = "w1") -> Job:
    """Submits the only job that may run, and claims it."""
    submitted = queue.submit(new).job
    job = claimed(queue, worker)
    assert job.id == submitted.id
    return job


def finish(queue: Queue, new: Any) -> Job:
    job = start(queue, new)
    assert queue.succeed(job, result_of(job))
    return queue.get(job.tenant, job.id)


def at_once(threads: int, act: Callable[[int], Any]) -> list[Any]:
    """Each thread does it when all are there; what they answered, or raised."""
    barrier, answers = threading.Barrier(threads), [None] * threads

    def run(number: int) -> None:
        barrier.wait()
        answers[number] = act(number)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answers
