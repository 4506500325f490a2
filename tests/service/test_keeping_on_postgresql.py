"""Library, shelf and retention on PostgreSQL: the statements that differ by database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.database import open_database, upgrade
from service.errors import Conflict, ResultExpired
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
