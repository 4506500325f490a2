"""R3: the process ends at each named point; R18: its GPU fails; R5: the disk is full there."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs import Job, JobState
from service.worker.faults import FAULT_POINTS
from tests.reliability.faulty_worker import KILLED
from tests.reliability.report import report
from tests.service.small_disk import small_disk
from tests.service.worker.workshop import Workshop, make_workshop

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(300)]

TILES = 64  # a side: 4 shards of scores


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = make_workshop(tmp_path, tiles=TILES)
    yield made
    made.close()


def manifest(workshop: Workshop, job: Job) -> bytes:
    return (workshop.folder(job) / "manifest.json").read_bytes()


def make_undisturbed(workshop: Workshop) -> bytes:
    job = workshop.submit()
    assert workshop.start_worker("--once").wait(60) == 0
    return manifest(workshop, workshop.get(job))


def test_process_that_ends_at_any_point_costs_no_result(workshop: Workshop, tmp_path: Path):
    undisturbed = make_undisturbed(workshop)
    failures, recovered_s = [], {}
    for point, process in FAULT_POINTS.items():
        job, marker = workshop.submit(), tmp_path / point
        options = ("--fault", f"{point}:{2 if point == 'after-shard' else 1}")
        worker = workshop.start_worker(*options, "--marker", str(marker))
        if process == "supervisor":
            assert worker.wait(60) == KILLED
            died = time.time()
            worker = workshop.start_worker()
        (ended,) = workshop.await_end(job)
        if process == "runner":
            died = marker.stat().st_mtime
        recovered_s[point] = round(time.time() - died, 1)
        worker.kill()
        worker.wait()
        sound = ended.state is JobState.SUCCEEDED and manifest(workshop, ended) == undisturbed
        failures += [] if sound and marker.exists() else [(point, ended)]
    bar_s = workshop.settings.lease_s + 10
    report("R3", len(FAULT_POINTS), len(failures), recovered_s=recovered_s, bar_s=bar_s)
    assert failures == []
    assert not [path for path in workshop.results.iterdir() if path.name.endswith(".partial")]


def test_runner_whose_gpu_failed_is_replaced(workshop: Workshop, tmp_path: Path):
    undisturbed = make_undisturbed(workshop)
    job = workshop.submit()
    worker = workshop.start_worker(
        "--fault", "after-shard:2", "--happening", "raise", "--marker", str(tmp_path / "marker")
    )

    (ended,) = workshop.await_end(job)

    sound = ended.state is JobState.SUCCEEDED and manifest(workshop, ended) == undisturbed
    report("R18", 1, int(not sound), attempts=ended.attempt, what="a GPU that fails")
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert manifest(workshop, ended) == undisturbed
    assert worker.poll() is None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 96 MiB: a job asks for 16 MiB before it begins."""
    with small_disk(tmp_path / "disk", 96 << 20) as disk:
        yield disk


def test_full_disk_fails_the_job_and_nothing_else(disk: Path, tmp_path: Path):
    """Filled to the last byte while scores are stored, before the result is published, and before
    the database is told; the same worker goes on once there is room."""
    failures, outcomes = [], {}
    workshop = make_workshop(disk, tiles=TILES, disk_floor_bytes=0)
    try:
        undisturbed = make_undisturbed(workshop)
        for number in range(2):
            for point in ("after-shard:1", "before-rename:1", "before-commit:1"):
                outcome = fill_disk_at(workshop, point, tmp_path / f"{point}{number}", undisturbed)
                outcomes[f"{point} {number}"] = outcome
                failures += [] if outcome.startswith("ok") else [point]
    finally:
        workshop.close()
    report("R5", len(outcomes), len(failures), outcomes=outcomes)
    assert failures == []


def fill_disk_at(workshop: Workshop, point: str, marker: Path, undisturbed: bytes) -> str:
    """What became of the job; it begins with ok where it is what it should be."""
    job = workshop.submit()
    ballast = workshop.settings.data / "ballast"
    worker = workshop.start_worker(
        *("--fault", point, "--marker", str(marker)),
        *("--happening", "fill-disk", "--ballast", str(ballast)),
    )
    while not marker.exists():
        workshop.get(job)  # can be read all the time
        time.sleep(0.01)
    if point.startswith("before-commit"):
        time.sleep(1)  # it may only try
        ballast.unlink()
    (ended,) = workshop.await_end(job)
    ballast.unlink(missing_ok=True)
    another = workshop.submit()
    (well,) = workshop.await_end(another)
    assert worker.poll() is None
    worker.kill()
    worker.wait()
    if well.state is not JobState.SUCCEEDED or manifest(workshop, well) != undisturbed:
        return f"the next job: {well.state} {well.error}"
    if point.startswith("before-commit"):
        return f"{'ok' if ended.state is JobState.SUCCEEDED else 'failed'}: {ended.state}"
    reason = json.dumps(ended.error)
    left = [path.name for path in workshop.results.iterdir() if path.name.startswith(job.result_id)]
    is_right = ended.state is JobState.FAILED and "/problems/no-space" in reason and not left
    return f"{'ok' if is_right else f'wrong, left {left}'}: {ended.state} {reason}"
