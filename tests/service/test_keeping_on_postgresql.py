"""Library, shelf and retention on PostgreSQL: the statements that differ by database."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from service.database import open_database, upgrade
from service.errors import Conflict, ResultExpired
from service.jobs import NewJob
from service.jobs.sql import SqlQueue
from service.storage.retention import Garbage, collect_garbage
from service.storage.shelf import Shelf
from tests.service.postgresql import cluster, fresh_database
from tests.service.shelving import (
    TENANT,
    add_job,
    add_result,
    files_of,
    make_library,
    make_settings,
    tiff_bytes,
    upload_at_once,
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(fresh_database(cluster()))
    upgrade(engine)
    yield engine
    engine.dispose()


def test_equal_uploads_at_the_same_time_are_one_slide(tmp_path: Path, engine: Engine):
    library = make_library(tmp_path, engine)
    stored = upload_at_once(library, tiff_bytes())
    assert len({one.slide.id for one in stored}) == 1
    assert [one.created for one in stored].count(True) == 1
    assert len(files_of(tmp_path)) == 1
    assert library.bytes_of(TENANT) == len(tiff_bytes())


def test_a_slide_of_which_a_job_is_being_added_is_not_deleted(tmp_path: Path, engine: Engine):
    """The deletion begins before the job is there, and looks for jobs after it is."""
    library = make_library(tmp_path, engine)
    slide = library.store(TENANT, [tiff_bytes()]).slide
    queue = SqlQueue(engine, lease_s=60, max_queued=9, max_queued_per_tenant=9)
    deleting = []

    def delete_meanwhile(*execution: Any) -> None:
        if str(execution[2]).startswith("INSERT INTO jobs"):
            deleting.append(ThreadPoolExecutor(1).submit(library.delete, TENANT, slide.id))
            wait_until_blocked(engine, deleting[0])

    event.listen(engine, "before_cursor_execute", delete_meanwhile)
    job = queue.submit(NewJob(TENANT, slide.id, "work", {})).job
    event.remove(engine, "before_cursor_execute", delete_meanwhile)
    with pytest.raises(Conflict, match="cancel the job first"):
        deleting[0].result(60)
    assert library.get(TENANT, job.slide_id) == slide


def wait_until_blocked(engine: Engine, doing: "Future[None]") -> None:
    """Until a connection waits for another one's lock, or all is done."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection:
        while not doing.done() and not connection.scalar(waits):
            threading.Event().wait(0.01)
            connection.rollback()


def test_what_is_over_its_time_goes_and_what_is_needed_stays(tmp_path: Path, engine: Engine):
    library = make_library(tmp_path, engine)
    old, needed = (library.store(TENANT, [tiff_bytes(seed=i)]).slide for i in range(2))
    result = add_result(tmp_path, engine, work_key="w")
    add_job(engine, needed.id)
    add_job(engine, old.id, state="failed", finished_at=1000.0)
    with pytest.raises(Conflict):
        library.delete(TENANT, needed.id)
    settings = make_settings(tmp_path, keep_slides_s=10, keep_results_s=10, keep_jobs_s=10)
    garbage = collect_garbage(settings, engine, lambda: 1100.0)
    size_bytes = len(tiff_bytes()) + 4
    assert garbage == Garbage(
        results=(result,), slides=(old.id,), job_rows=1, size_bytes=size_bytes
    )
    shelf = Shelf(tmp_path, engine, settings)
    with pytest.raises(ResultExpired):
        shelf.get(TENANT, result)
    assert shelf.find(TENANT, "w") is None
    assert files_of(tmp_path) == [f"slides/{needed.id}/slide.tif"]
