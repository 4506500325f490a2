"""A worker that stands still, loses its job to another, and has the job's folder still."""

import time
from pathlib import Path

import pytest

from service.database import jobs as jobs_table
from service.jobs import Job, JobState, NewResult
from service.worker.folder import describe_result, discard
from tests.service.worker.workshop import TENANT, SlidesInFolders, Workshop, ended
from wsi.store.journal import FolderLock


@pytest.mark.parametrize("is_late", [False, True])
def test_job_whose_folder_another_process_has_waits_and_no_attempt_counts(
    workshop: Workshop,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_late: bool,
):
    """A worker that stood still lost the job to this one, and has its folder still; or takes it
    after this one has looked."""
    if is_late:
        monkeypatch.setattr("service.worker.supervisor.is_held", lambda _folder: False)
    job = workshop.submit()
    settings = workshop.settings.model_copy(update={"lease_s": 50})
    with FolderLock(workshop.partial(job)):
        waiting = ended(workshop, job, settings=settings)

    assert (waiting.state, waiting.attempt, waiting.error) == (JobState.QUEUED, 0, None)
    assert 30 < waiting.not_before - time.time() <= 50
    assert "another process still writes the result" in caplog.text
    with workshop.queue._engine.begin() as connection:
        connection.execute(jobs_table.update().values(not_before=0.0))
    done = ended(workshop, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)


def test_slide_of_a_job_that_cannot_begin_is_not_looked_at(workshop: Workshop):
    class Unread(SlidesInFolders):
        def path_of(self, tenant: str, slide_id: str) -> Path:
            raise AssertionError(slide_id)

    job = workshop.submit()
    with FolderLock(workshop.partial(job)):
        waiting = ended(workshop, job, slides=Unread(workshop.settings.data))
    assert waiting.state is JobState.QUEUED


def test_result_that_somebody_takes_away_before_it_is_recorded_ends_no_worker(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
):
    """Its worker stood still for longer than its lease, and somebody cancelled the job."""
    job = workshop.submit()

    def too_late(job: Job, folder: Path) -> NewResult:
        with workshop.queue._engine.begin() as connection:
            connection.execute(jobs_table.update().values(lease_until=0.0))
        workshop.queue.cancel(TENANT, job.id)
        assert discard(folder)
        return describe_result(job, folder)

    monkeypatch.setattr("service.worker.supervisor.describe_result", too_late)
    assert ended(workshop, job).state is JobState.CANCELLED
    assert list(workshop.results.iterdir()) == []
    monkeypatch.undo()
    assert ended(workshop, workshop.submit()).state is JobState.SUCCEEDED
