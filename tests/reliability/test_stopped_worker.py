"""R17: SIGTERM under load. R19: cancel at random stages."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.errors import Conflict
from service.jobs import Job, JobState
from service.results import object_hashes
from tests.reliability.report import SEED, report
from tests.service.worker.workshop import TENANT, Workshop, make_workshop

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(300)]

TERMS, CANCELS = 5, 20
JOB_S = 0.7
LIMIT_S = 45  # of an exit
DONE_S = 180  # of all jobs that are left


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = make_workshop(tmp_path, tiles=128, sandbox="off")
    yield made
    made.close()


def test_worker_that_is_told_to_end_hands_its_job_back(workshop: Workshop):
    chance = random.Random(SEED)
    jobs = [workshop.submit() for _ in range(2 * TERMS)]
    exits_s, wrong = [], []
    for _ in range(TERMS):
        worker = workshop.start_worker()
        running = await_running(workshop)
        time.sleep(chance.uniform(0, JOB_S))
        worker.terminate()
        began = time.monotonic()
        code = worker.wait(LIMIT_S)
        exits_s.append(round(time.monotonic() - began, 2))
        after = [workshop.get(job) for job in jobs]
        wrong += [job for job in after if not is_untouched_or_done(job)]
        wrong += [(code, running)] if code != 0 else []
    workshop.start_worker("--once").wait(DONE_S)
    lost = [job for job in map(workshop.get, jobs) if not is_sound(workshop, job)]
    report("R17", TERMS, len(lost) + len(wrong), exits_s=exits_s, bar_s=LIMIT_S, lost=len(lost))
    assert wrong == []
    assert lost == []


def is_untouched_or_done(job: Job) -> bool:
    """No worker is there any more: a job waits, and the attempt that was handed back is not
    counted; or it is done."""
    if job.state is JobState.QUEUED:
        return job.attempt == 0 and job.worker is None
    return job.state is JobState.SUCCEEDED and job.attempt == 1


def is_sound(workshop: Workshop, job: Job) -> bool:
    if job.state is not JobState.SUCCEEDED:
        return False
    return bool(object_hashes(workshop.folder(job)))


def test_cancelled_jobs_stop_soon_and_leave_nothing(workshop: Workshop):
    chance = random.Random(SEED)
    workshop.start_worker()
    waits_s: list[float] = []
    stages: set[str] = set()
    wrong: list[object] = []
    too_late = 0
    while len(waits_s) < CANCELS:
        stage, waited_s, ended = cancel_one(workshop, chance.uniform(0, JOB_S))
        if ended.state is JobState.SUCCEEDED:  # it was done, or being committed
            too_late += 1
            assert too_late < 5 * CANCELS
            continue
        stages.add(stage)
        waits_s.append(waited_s)
        wrong += [] if ended.state is JobState.CANCELLED else [ended]
        wrong += workshop.results.glob(f"{ended.result_id}*")
    (well,) = workshop.await_end(workshop.submit())
    waits_s.sort()
    report(
        "R19", CANCELS, len(wrong), median_s=waits_s[len(waits_s) // 2], longest_s=waits_s[-1],
        bar_s=5, too_late=too_late, stages=sorted(stages),
    )  # fmt: skip
    assert wrong == []
    assert well.state is JobState.SUCCEEDED


def cancel_one(workshop: Workshop, after_s: float) -> tuple[str, float, Job]:
    """A new job's stage when it was cancelled, how long that took, and the job at its end."""
    job = workshop.submit()
    workshop.await_job(job, lambda now: now.state is not JobState.QUEUED)
    time.sleep(after_s)
    stage, began = "ended", time.monotonic()
    with suppress(Conflict):
        stage = workshop.queue.cancel(TENANT, job.id).stage or "start"
    (ended,) = workshop.await_end(job)
    return stage, round(time.monotonic() - began, 2), ended


def await_running(workshop: Workshop) -> Job:
    until = time.monotonic() + 60
    while not (running := workshop.queue.page(TENANT, limit=1, state=JobState.RUNNING)):
        assert time.monotonic() < until
        time.sleep(0.01)
    return running[0]
