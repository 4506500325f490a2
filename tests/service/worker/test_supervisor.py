"""One job after another, by the real supervisor and a real runner in a process of its own."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from service.database import results as results_table
from service.jobs import Job, JobState, Verdict
from service.settings import Settings
from service.worker.fleet import worker_environments
from service.worker.supervisor import Supervisor
from tests.service.worker.workshop import (
    TENANT,
    SlidesInFolders,
    Workshop,
    ended,
    slug,
    work,
)
from wsi.export import ome_zarr


def left_behind(workshop: Workshop) -> list[str]:
    return [path.name for path in workshop.results.iterdir()]


def test_job_becomes_a_result_that_the_queue_knows(workshop: Workshop):
    job = ended(workshop, workshop.submit())

    assert job.state is JobState.SUCCEEDED
    folder = workshop.folder(job)
    heatmap = ome_zarr.read(folder / "heatmap.zarr").positive
    painted = (np.arange(64) * 89 % 241).reshape(8, 8) / 255
    np.testing.assert_allclose(heatmap, painted, atol=1e-6)
    with workshop.queue._engine.connect() as connection:
        (row,) = connection.execute(results_table.select()).all()
    manifest = (folder / "manifest.json").read_bytes()
    assert row.id == job.result_id
    assert row.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    assert row.size_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    for name, entry in json.loads(manifest)["outputs"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]


def test_what_the_slide_says_is_kept_in_the_library(workshop: Workshop):
    job = ended(workshop, workshop.submit())

    facts = json.loads(
        (workshop.settings.data / "slides" / job.slide_id / "facts.json").read_text()
    )
    assert facts["size0"] == [128, 128]
    assert facts["mpp"] == [0.5, 0.5]


def test_worker_says_that_it_lives_and_on_what(workshop: Workshop):
    work(workshop)

    (seen,) = workshop.queue.workers(60)
    assert seen.id == "tester"
    assert seen.facts["device"] == "cpu, exact"
    assert seen.facts["sandbox"] == {"wanted": "off"}
    assert seen.facts["version"]


def test_file_that_is_no_slide_fails_with_a_reason(workshop: Workshop, tmp_path: Path):
    text = tmp_path / "letter.txt"
    text.write_text("Dear Sir")

    job = ended(workshop, workshop.submit(workshop.add_slide(text)))

    assert (job.state, job.attempt, slug(job)) == (JobState.FAILED, 1, "unsupported-format")
    assert job.error is not None
    assert "the slide" in job.error["detail"]
    assert str(workshop.settings.data) not in json.dumps(job.error)
    assert left_behind(workshop) == []


def test_unknown_model_fails_with_a_reason(workshop: Workshop):
    job = ended(workshop, workshop.submit(model="nobodys"))

    assert (job.state, slug(job)) == (JobState.FAILED, "unknown-model")


def test_slide_that_is_gone_fails_with_a_reason(workshop: Workshop):
    slide = workshop.add_slide()
    shutil.rmtree(workshop.settings.data / "slides" / slide)

    job = ended(workshop, workshop.submit(slide))

    assert (job.state, slug(job)) == (JobState.FAILED, "not-found")


def test_job_that_runs_too_long_fails_and_leaves_nothing(workshop: Workshop):
    job = ended(
        workshop,
        workshop.submit(),
        settings=workshop.settings.model_copy(update={"job_timeout_s": 0}),
    )

    assert (job.state, slug(job)) == (JobState.FAILED, "job-timeout")
    assert left_behind(workshop) == []


@pytest.mark.slow
def test_runner_that_dies_costs_an_attempt_and_the_third_is_the_last(workshop: Workshop):
    dying = [sys.executable, "-m", "tests.reliability.faulty_worker", "--fault", "before-rename:1"]

    job = ended(workshop, workshop.submit(), command=dying)

    assert (job.state, job.attempt, slug(job)) == (JobState.FAILED, 3, "worker-lost")
    assert job.error is not None
    assert "exit code 86" in job.error["detail"]
    assert left_behind(workshop) == []


def test_result_made_twice_at_the_same_time_is_kept_once(workshop: Workshop):
    """Somebody else's result of equal work appears while the job runs."""
    job = workshop.submit()
    row = {
        "id": "res_other", "tenant": TENANT, "job_id": "job_other", "slide_id": job.slide_id,
        "work_key": job.work_key, "size_bytes": 1, "manifest_sha256": "0" * 64, "created_at": 0.0,
    }  # fmt: skip
    with workshop.queue._engine.begin() as connection:
        connection.execute(results_table.insert().values(row))

    job = ended(workshop, job)

    assert (job.state, job.cached, job.result_id) == (JobState.SUCCEEDED, True, "res_other")
    assert left_behind(workshop) == []


def test_work_of_a_lease_that_was_lost_is_not_published(workshop: Workshop):
    """Another worker takes the job between the work and the commit, and somebody cancels it."""
    job = workshop.submit()

    def steal(point: str) -> None:
        if point == "before-commit":
            workshop.queue.cancel(TENANT, job.id)
            now = workshop.get(job)
            assert workshop.queue.confirm_cancel(now)

    job = ended(workshop, job, fault=steal)

    assert job.state is JobState.CANCELLED
    assert left_behind(workshop) == []


@pytest.mark.slow
def test_job_that_is_cancelled_while_its_runner_dies_leaves_nothing(workshop: Workshop):
    job = workshop.submit()

    def cancel_and_die(point: str) -> None:
        if point == "after-claim":
            workshop.queue.cancel(TENANT, job.id)

    dying = [sys.executable, "-m", "tests.reliability.faulty_worker", "--fault", "after-rename:1"]
    settings = workshop.settings.model_copy(update={"heartbeat_s": 60})

    job = ended(workshop, job, fault=cancel_and_die, command=dying, settings=settings)

    assert job.state is JobState.CANCELLED
    assert left_behind(workshop) == []


def test_folder_of_a_job_that_another_worker_has_stays(workshop: Workshop):
    """The job's lease was lost, but the job is not over: its new owner finds the work done."""
    job = workshop.submit()

    def lose(point: str) -> None:
        if point == "before-commit":
            taken = workshop.get(job)
            assert workshop.queue.hand_back(taken)
            assert workshop.queue.claim("another") is not None

    job = ended(workshop, job, fault=lose)

    assert (job.state, job.worker) == (JobState.RUNNING, "another")
    assert left_behind(workshop) == [job.result_id]


def test_queue_that_is_away_for_a_while_loses_no_result(workshop: Workshop):
    """As where the database's disk is full: the first answers are errors."""

    class Troubled:
        def __init__(self) -> None:
            self.errors = {"claim": 2, "succeed": 3, "beat": 1, "heartbeat": 1}

        def __getattr__(self, name: str) -> Any:
            if self.errors.get(name, 0) > 0:
                self.errors[name] -= 1
                raise OperationalError("statement", {}, Exception("database or disk is full"))
            return getattr(workshop.queue, name)

    troubled, job = Troubled(), workshop.submit()
    slides = SlidesInFolders(workshop.settings.data)
    supervisor = Supervisor(workshop.settings, troubled, slides, worker_id="tester")

    def stop_at_end() -> None:
        workshop.await_end(job)
        supervisor.stop()

    waiting = threading.Thread(target=stop_at_end)
    waiting.start()
    supervisor.run()
    waiting.join()

    assert workshop.get(job).state is JobState.SUCCEEDED
    assert (troubled.errors["claim"], troubled.errors["succeed"]) == (0, 0)


def test_job_that_was_lost_and_comes_back_is_done(workshop: Workshop):
    """To the same runner, which was told to stop its first attempt."""

    class Losing:
        lost = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(workshop.queue, name)

        def heartbeat(self, job: Job, *where: Any) -> Verdict:
            if self.lost == 0:
                self.lost += 1
                assert workshop.queue.hand_back(job)
            return workshop.queue.heartbeat(job, *where)

    losing = Losing()

    job = ended(workshop, workshop.submit(), queue=losing)

    assert (job.state, job.fence, losing.lost) == (JobState.SUCCEEDED, 2, 1)


def test_library_that_is_away_for_a_while_costs_no_attempt(workshop: Workshop):
    class Away(SlidesInFolders):
        errors = 2

        def path_of(self, tenant: str, slide_id: str) -> Path:
            if self.errors:
                self.errors -= 1
                raise OperationalError("statement", {}, Exception("server closed the connection"))
            return super().path_of(tenant, slide_id)

    job, slides = workshop.submit(), Away(workshop.settings.data)
    supervisor = Supervisor(workshop.settings, workshop.queue, slides, worker_id="tester")
    supervisor.run(until_empty=True)

    job = workshop.get(job)
    assert (job.state, job.attempt, slides.errors) == (JobState.SUCCEEDED, 1, 0)


def test_supervisor_imports_neither_torch_nor_a_decoder(tmp_path: Path):
    code = (
        "import sys, service.worker.process; "
        "bad = {'torch', 'openslide', 'tiffslide', 'tifffile', 'imagecodecs'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_secrets_of_the_api_do_not_reach_its_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WSI_TOKEN_SECRET", "s" * 40)
    monkeypatch.setenv("WSI_MODELS", "one,two")

    (environment,) = worker_environments(Settings(data=Path("here"), lease_s=7))

    assert "s" * 40 not in environment.values()
    assert environment["WSI_LEASE_S"] == "7.0"
    assert environment["WSI_MODELS"] == "one,two"


def test_verdicts_of_a_stale_owner_are_lost(workshop: Workshop):
    """What the tests above rely on: an older fence changes nothing."""
    workshop.submit()
    job = workshop.queue.claim("one")
    assert job is not None
    assert workshop.queue.heartbeat(replace(job, fence=job.fence - 1), None, 0, 0) is Verdict.LOST


@pytest.mark.parametrize("change", ["other bytes", "gone"])
def test_slide_that_was_changed_in_its_place_is_refused(workshop: Workshop, change: str) -> None:
    """By a path, others may write to it; its row says what it was."""
    slide_id = workshop.add_slide()
    path = workshop.settings.data / "slides" / slide_id / "slide.tiff"
    content = path.read_bytes()
    path.with_name("sha256").write_text(hashlib.sha256(content).hexdigest())
    unchanged = workshop.submit(slide_id)
    assert ended(workshop, unchanged).state is JobState.SUCCEEDED
    path.unlink()
    if change == "other bytes":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    job = ended(workshop, workshop.submit(slide_id, min_tissue=0.25))
    assert (job.state, slug(job), job.attempt) == (JobState.FAILED, "slide-changed", 1)
    assert job.error is not None
    assert str(path.parent) not in str(job.error)
    assert not workshop.partial(job).exists()


RUNNER_OF_A_SLIDE_THAT_GROWS = """
import os
from service.worker import runner

class Growing(runner.Runner):
    def _run(self, order):
        self.slide = order["slide"]
        return super()._run(order)

    def say(self, what, job, **more):
        if what == "opened":
            with open(self.slide, "ab") as file:
                file.write(b"0")
        super().say(what, job, **more)

runner.Runner = Growing
runner.serve()
os._exit(0)
"""


def test_slide_that_changes_in_its_place_while_it_is_read_makes_no_result(
    workshop: Workshop,
) -> None:
    slide_id = workshop.add_slide()
    path = workshop.settings.data / "slides" / slide_id / "slide.tiff"
    path.with_name("sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    runner = (sys.executable, "-c", RUNNER_OF_A_SLIDE_THAT_GROWS)
    job = ended(workshop, workshop.submit(slide_id), command=runner)
    assert (job.state, slug(job), job.attempt) == (JobState.FAILED, "slide-changed", 1)
    assert not workshop.folder(job).exists()


def test_job_that_the_disk_has_no_room_for_writes_nothing(workshop: Workshop) -> None:
    """The operator keeps more free than there is."""
    full = workshop.settings.model_copy(update={"disk_floor_bytes": 1 << 60})
    job = ended(workshop, workshop.submit(), settings=full)
    assert (job.state, slug(job)) == (JobState.FAILED, "no-space")
    assert not workshop.folder(job).exists()
    assert not workshop.partial(job).exists()
    assert not [*(workshop.settings.data / "reservations").glob("*.hold")]
