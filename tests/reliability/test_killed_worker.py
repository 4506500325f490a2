"""R1: kill -9 of the worker, supervisor or runner, at random moments."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.database import results as results_table
from service.jobs import Job, JobState
from service.jobs.job import MAX_ATTEMPTS
from service.results import object_hashes
from tests.reliability.report import SEED, report
from tests.service.worker.workshop import TENANT, Workshop, make_workshop
from wsi.store.scores import SCORE_SHARD

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(600)]

JOBS, KILLS = 10, 20
TILES = 128  # a side: 16 shards of scores, about 0.7 s
SHARDS = TILES * TILES // SCORE_SHARD
JOB_S = 0.7


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = make_workshop(tmp_path, tiles=TILES)
    yield made
    made.close()


def test_killed_workers_lose_nothing_and_publish_nothing_twice(workshop: Workshop, tmp_path: Path):
    undisturbed = make_undisturbed(workshop)
    chance, trace = random.Random(SEED), tmp_path / "trace"
    jobs = [workshop.submit() for _ in range(JOBS)]
    kills, began = 0, time.monotonic()
    while kills < KILLS:
        kills += kill_somebody(workshop, chance, trace)
        if all(workshop.get(job).state.is_final for job in jobs):
            jobs.append(workshop.submit())
    workshop.start_worker("--trace", str(trace))
    ended = workshop.await_end(*jobs, limit_s=120)
    spent = time.monotonic() - began

    lost = [job for job in ended if job.state is not JobState.SUCCEEDED]
    differing = [job for job in ended if job not in lost and manifest(workshop, job) != undisturbed]
    computed = trace.read_text().count("after-shard")
    report(
        "R1", KILLS, len(lost) + len(differing), jobs=len(jobs), lost=len(lost),
        not_byte_equal=len(differing), shards_needed=SHARDS * len(jobs), shards_computed=computed,
        seconds=round(spent, 1),
    )  # fmt: skip
    assert lost == []
    assert differing == []
    assert_published_once(workshop, ended)
    # what is in flight is one shard a kill; whole shards that were done again come on top
    assert computed - SHARDS * len(jobs) <= KILLS


def make_undisturbed(workshop: Workshop) -> bytes:
    job = workshop.submit()
    assert workshop.start_worker("--once").wait(60) == 0
    return manifest(workshop, workshop.get(job))


def manifest(workshop: Workshop, job: Job) -> bytes:
    return (workshop.folder(job) / "manifest.json").read_bytes()


def kill_somebody(workshop: Workshop, chance: random.Random, trace: Path) -> bool:
    """The supervisor, so that all is over, or only its runner; never at a job's last attempt."""
    if not workshop.workers or workshop.workers[-1].poll() is not None:
        workshop.start_worker("--trace", str(trace))
    worker = workshop.workers[-1]
    while not (running := claimed_by(workshop, worker.pid)):
        if not workshop.queue.page(TENANT, limit=1, state=JobState.QUEUED):
            return False
        time.sleep(0.01)
    time.sleep(chance.uniform(0, JOB_S))
    os.kill(worker.pid, signal.SIGSTOP)  # so that what is looked at is what is killed
    running = claimed_by(workshop, worker.pid)
    is_fair = all(job.attempt < MAX_ATTEMPTS for job in running)
    runner = runner_of(worker.pid)
    if is_fair and (runner is None or chance.random() < 0.5):
        worker.kill()
        worker.wait()
    elif is_fair and runner is not None:
        os.kill(runner, signal.SIGKILL)
    if worker.poll() is None:
        worker.send_signal(signal.SIGCONT)
    if not is_fair:
        workshop.await_end(*running)
    return is_fair


def claimed_by(workshop: Workshop, pid: int) -> list[Job]:
    running = workshop.queue.page(TENANT, limit=100, state=JobState.RUNNING)
    return [job for job in running if job.worker == f"faulty-{pid}"]


def runner_of(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def assert_published_once(workshop: Workshop, ended: list[Job]) -> None:
    with workshop.queue._engine.connect() as connection:
        rows = connection.execute(results_table.select()).all()
    assert {row.job_id for row in rows} >= {job.id for job in ended}
    assert len({row.job_id for row in rows}) == len(rows)
    assert {path.name for path in workshop.results.iterdir()} == {row.id for row in rows}
    for job in ended:
        folder = workshop.folder(job)
        assert object_hashes(folder) == recorded(folder)


def recorded(folder: Path) -> object:
    return json.loads((folder / "manifest.json").read_bytes())["outputs"]
