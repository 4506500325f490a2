"""What is over its time goes, what a crash left goes, and nothing that somebody needs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select
from typer.testing import CliRunner

from service.cli import app
from service.database import batch_jobs, batches, idempotency_keys, jobs, results, workers
from service.errors import Conflict, NotFound, ResultExpired
from service.ids import new_id
from service.storage.library import Stored
from service.storage.retention import Garbage, clear_orphans, collect_garbage
from service.storage.shelf import Shelf
from tests.service.shelving import (
    TENANT,
    add_job,
    add_result,
    files_of,
    make_engine,
    make_library,
    make_settings,
    tiff_bytes,
)
from wsi.store.journal import FolderLock


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(tmp_path)
    yield engine
    engine.dispose()


def collect(data: Path, engine: Engine, now: float = 1100.0, **options: object) -> Garbage:
    dry_run = bool(options.pop("dry_run", False))
    return collect_garbage(make_settings(data, **options), engine, lambda: now, dry_run=dry_run)


def make_partial(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"12345")
    return path


def test_results_go_after_their_time_and_answer_that_they_expired(tmp_path: Path, engine: Engine):
    old = add_result(tmp_path, engine, created_at=1000.0, size_bytes=7)
    young = add_result(tmp_path, engine, created_at=1050.0)
    garbage = collect(tmp_path, engine, keep_results_s=60)
    assert garbage == Garbage(results=(old,), size_bytes=7)
    assert files_of(tmp_path) == [f"results/{young}/manifest.json"]
    shelf = Shelf(tmp_path, engine, make_settings(tmp_path))
    with pytest.raises(ResultExpired):
        shelf.get(TENANT, old)


def test_rows_of_deleted_results_go_once_jobs_are_forgotten(tmp_path: Path, engine: Engine):
    shelf = Shelf(tmp_path, engine, make_settings(tmp_path), lambda: 1000.0)
    result_id = add_result(tmp_path, engine)
    shelf.delete(TENANT, result_id)
    assert collect(tmp_path, engine, 1099.0, keep_jobs_s=100) == Garbage()
    assert collect(tmp_path, engine, 1101.0, keep_jobs_s=100) == Garbage(result_rows=1)
    with pytest.raises(NotFound):
        shelf.get(TENANT, result_id)


def test_slides_go_after_their_time_unless_a_job_needs_them(tmp_path: Path, engine: Engine):
    library = make_library(tmp_path, engine)
    old, needed = (library.store(TENANT, [tiff_bytes(seed=i)]).slide for i in range(2))
    add_job(engine, needed.id)
    would = collect(tmp_path, engine, dry_run=True, keep_slides_s=60)
    garbage = collect(tmp_path, engine, keep_slides_s=60)
    assert garbage == would
    assert garbage == Garbage(slides=(old.id,), size_bytes=len(tiff_bytes()))
    assert files_of(tmp_path) == [f"slides/{needed.id}/slide.tif"]
    assert collect(tmp_path, engine) == Garbage()


def test_a_slide_whose_bytes_came_again_is_kept_from_then_on(tmp_path: Path, engine: Engine):
    now = [1000.0]
    library = make_library(tmp_path, engine, lambda: now[0])
    slide = library.store(TENANT, [tiff_bytes()]).slide
    now[0] = 1090.0
    assert library.store(TENANT, [tiff_bytes()]) == Stored(slide, created=False)
    assert collect(tmp_path, engine, 1149.0, keep_slides_s=60) == Garbage()
    assert collect(tmp_path, engine, 1151.0, keep_slides_s=60).slides == (slide.id,)


def test_a_slide_that_came_again_while_it_was_to_go_stays(tmp_path: Path, engine: Engine):
    """The collector has found it; then its bytes come; then it is about to be deleted."""
    now = [1000.0]
    library = make_library(tmp_path, engine, lambda: now[0])
    slide = library.store(TENANT, [tiff_bytes()]).slide
    now[0] = 1090.0
    library.store(TENANT, [tiff_bytes()])
    with pytest.raises(Conflict, match="came again"):
        library.delete(TENANT, slide.id, sent_before=1040.0)
    assert library.get(TENANT, slide.id) == slide
    library.delete(TENANT, slide.id, sent_before=1090.5)
    assert files_of(tmp_path) == []


def test_ended_jobs_are_forgotten_unless_their_result_or_batch_is_there(
    tmp_path: Path, engine: Engine
):
    gone = add_job(engine, "sld_x", state="failed", finished_at=900.0)
    add_job(engine, "sld_x", state="running")
    add_job(engine, "sld_x", state="failed", finished_at=1050.0)
    with_result = add_job(engine, "sld_x", state="succeeded", finished_at=900.0)
    in_batch = add_job(engine, "sld_x", state="failed", finished_at=900.0)
    add_result(tmp_path, engine, job_id=with_result)
    add_batch(engine, in_batch, created_at=1050.0)
    with engine.begin() as connection:
        connection.execute(insert(idempotency_keys).values(tenant=TENANT, key="k", job_id=gone))
    assert collect(tmp_path, engine, keep_jobs_s=100) == Garbage(job_rows=1)
    with engine.connect() as connection:
        left = set(connection.execute(select(jobs.c.id)).scalars())
        keys = connection.execute(select(idempotency_keys)).all()
    assert len(left) == 4
    assert gone not in left
    assert keys == []


def test_a_batch_is_forgotten_with_its_jobs_once_they_have_ended(tmp_path: Path, engine: Engine):
    ended = add_job(engine, "sld_x", state="cancelled", finished_at=900.0)
    waits = add_job(engine, "sld_x")
    add_batch(engine, ended, created_at=900.0)
    add_batch(engine, waits, created_at=900.0)
    assert collect(tmp_path, engine, keep_jobs_s=100) == Garbage(batch_rows=1, job_rows=1)
    assert collect(tmp_path, engine, keep_jobs_s=100) == Garbage()


def test_more_rows_than_one_transaction_takes_all_go(tmp_path: Path, engine: Engine):
    rows = [{"id": f"w{i}", "seen_at": 1.0, "facts": {}} for i in range(1200)]
    with engine.begin() as connection:
        connection.execute(insert(workers), rows)
    assert collect(tmp_path, engine, keep_jobs_s=100).worker_rows == 1200


def test_more_batches_than_one_transaction_takes_all_go(tmp_path: Path, engine: Engine):
    row = {"tenant": TENANT, "request_sha256": "0", "created_at": 1.0}
    rows = [{"id": f"bat_{i}", **row} for i in range(1200)]
    line = {"number": 0, "slide_id": "sld_x", "job_id": "job_gone"}
    lines = [{"batch_id": row["id"], **line} for row in rows]
    with engine.begin() as connection:
        connection.execute(insert(batches), rows)
        connection.execute(insert(batch_jobs), lines)
    assert collect(tmp_path, engine, keep_jobs_s=100).batch_rows == 1200
    with engine.connect() as connection:
        assert connection.execute(select(batch_jobs)).all() == []


def add_batch(engine: Engine, job_id: str, *, created_at: float) -> None:
    batch_id = new_id("bat")
    row = {"id": batch_id, "tenant": TENANT, "request_sha256": "0", "created_at": created_at}
    with engine.begin() as connection:
        connection.execute(insert(batches).values(row))
        entry = {"batch_id": batch_id, "number": 0, "slide_id": "sld_x", "job_id": job_id}
        connection.execute(insert(batch_jobs).values(entry))


def test_what_a_crash_left_goes_and_what_others_work_on_stays(tmp_path: Path, engine: Engine):
    """A live upload, a live job's partial folder, one that is locked, and files not of ours."""
    resumable, finished, locked, strange = (new_id("res") for _ in range(4))
    add_job(engine, "sld_x", state="running", result_id=resumable)
    add_job(engine, "sld_x", state="queued", result_id=finished)
    kept = add_result(tmp_path, engine)
    stays = [
        make_partial(tmp_path / "results" / f"{resumable}.partial"),
        make_partial(tmp_path / "results" / finished),
        make_partial(tmp_path / "results" / f"{locked}.partial"),
        make_partial(tmp_path / "results" / f"my {strange}"),
        tmp_path / "results" / kept,
    ]
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / f"{new_id('upl')}.partial").write_bytes(b"12345")
    goes = [
        make_partial(tmp_path / "slides" / f"{new_id('sld')}.partial"),
        make_partial(tmp_path / "slides" / new_id("sld")),
        make_partial(tmp_path / "slides" / f"{new_id('sld')}.deleted.partial"),
        make_partial(tmp_path / "results" / f"{new_id('res')}.partial"),
        make_partial(tmp_path / "results" / new_id("res")),
        make_partial(tmp_path / "results" / f"{resumable}.old.partial"),
        make_partial(tmp_path / "results" / f"{kept}.deleted.partial"),
        make_partial(tmp_path / "results" / f"{finished}.old.partial.deleted.partial"),
        make_partial(tmp_path / "results" / f"{kept}.partial.deleted.partial"),
    ]
    library = make_library(tmp_path, engine)
    upload = library.begin(TENANT, None, 10, None)
    slide = library.store(TENANT, [tiff_bytes()]).slide
    with FolderLock(tmp_path / "results" / f"{locked}.partial"):
        would = clear_orphans(make_settings(tmp_path), engine, dry_run=True)
        assert all(path.exists() for path in goes)
        garbage = clear_orphans(make_settings(tmp_path), engine)
    assert would == garbage
    assert len(garbage.orphans) == 10
    assert garbage.size_bytes == 10 * 5
    assert not any(path.exists() for path in goes)
    assert all(path.exists() for path in (*stays, upload.path, slide.path))
    upload.abort()


@pytest.mark.parametrize("name", ["{}", "{}.partial", "{}.old.partial", "{}.deleted.partial"])
def test_what_was_being_removed_at_a_crash_goes_the_next_time(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
):
    folder = tmp_path / "results"
    make_partial(folder / name.format(new_id("res")))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            clear_orphans(make_settings(tmp_path), engine)
    assert len(list(folder.iterdir())) == 1

    assert len(clear_orphans(make_settings(tmp_path), engine).orphans) == 1
    assert list(folder.iterdir()) == []


def test_what_was_left_of_an_earlier_removal_does_not_stop_the_next_one(
    tmp_path: Path, engine: Engine
):
    """An attempt was being removed at the crash, and another one left its folder after it."""
    name = f"{new_id('res')}.partial"
    for each in (name, f"{name}.deleted.partial"):
        make_partial(tmp_path / "results" / each)
    clear_orphans(make_settings(tmp_path), engine)
    assert list((tmp_path / "results").iterdir()) == []


def crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_slide_that_is_about_to_get_its_row_stays(tmp_path: Path, engine: Engine):
    """Cleaning comes between the folder's name and its row."""
    library, cleaned = make_library(tmp_path, engine), []

    @event.listens_for(engine, "before_cursor_execute")
    def clean(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("INSERT INTO slides"):
            cleaned.append(clear_orphans(make_settings(tmp_path), engine))

    slide = library.store(TENANT, [tiff_bytes()]).slide
    assert cleaned == [Garbage()]
    assert slide.path.is_file()


def test_a_result_that_was_marked_deleted_before_a_crash_goes(tmp_path: Path, engine: Engine):
    result_id = add_result(tmp_path, engine)
    with engine.begin() as connection:
        connection.execute(results.update().values(deleted_at=1000.0))
    assert clear_orphans(make_settings(tmp_path), engine).orphans == (f"results/{result_id}",)


def test_a_dry_run_says_the_same_and_does_nothing(tmp_path: Path, engine: Engine):
    library = make_library(tmp_path, engine)
    library.store(TENANT, [tiff_bytes()])
    add_result(tmp_path, engine)
    add_job(engine, "sld_x", state="failed", finished_at=900.0)
    options = {"keep_results_s": 10, "keep_slides_s": 10, "keep_jobs_s": 10}
    before = files_of(tmp_path)
    would = collect(tmp_path, engine, dry_run=True, **options)
    assert files_of(tmp_path) == before
    assert collect(tmp_path, engine, **options) == would
    assert would.size_bytes == len(tiff_bytes()) + 4
    assert files_of(tmp_path) == []


def test_the_command_says_what_went(tmp_path: Path, engine: Engine):
    make_partial(tmp_path / "slides" / f"{new_id('sld')}.partial")
    command = ["gc", "--data", str(tmp_path), "--json"]
    dry = json.loads(CliRunner().invoke(app, [*command, "--dry-run"]).stdout)
    wet = json.loads(CliRunner().invoke(app, command).stdout)
    assert (dry["dry_run"], wet["dry_run"]) == (True, False)
    assert dry["orphans"] == wet["orphans"]
    assert (len(wet["orphans"]), wet["size_bytes"]) == (1, 5)
    text = CliRunner().invoke(app, command[:-1]).stdout
    assert "orphans: 0" in text.splitlines()
