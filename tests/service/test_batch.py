"""Many slides: each one's outcome is a row, and nothing is lost by a kill."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from service.batch import run_batch, run_task
from service.batch_list import list_slides
from service.cluster import connect
from service.pipeline import run_request
from service.request import HeatmapRequest
from tests.service.painted import paint, write_model, write_slide
from tests.service.served import children_of, is_alive, wait_for
from wsi.errors import StoreIncomplete
from wsi.store.journal import FolderLock

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own event loop and ports

REPOSITORY = Path(__file__).resolve().parents[2]


def write_list(folder: Path) -> Path:
    """Two slides of one name, one white, one that is no slide, one where no server is."""
    values = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        write_slide(folder / name / "painted.tiff", [paint(values, 16, 96, 64)], 0.5)
    write_slide(folder / "white.tiff", [np.full((600, 600, 3), 255, np.uint8)], 0.5)
    (folder / "broken.svs").write_text("this is no slide")
    table = folder / "slides.csv"
    table.write_text(
        "path,mask\na/painted.tiff,none\nb/painted.tiff,none\nwhite.tiff,\nbroken.svs,\n"
        "http://user:secret@127.0.0.1:1/far.tiff?signature=secret,\n"
    )
    return table


def write_large_slides(folder: Path, *names: str) -> Path:
    """128 x 256 tiles each: 32 shards of scores."""
    folder.mkdir()
    values = (np.arange(128 * 256) * 89 % 241).astype(np.uint8).reshape(128, 256)
    for name in names:
        write_slide(folder / name, [paint(values, 16, 4096, 2048)], 0.5)
    return folder


def test_every_slide_has_a_row_and_a_failure_stops_nobody(tmp_path: Path) -> None:
    table, out = write_list(tmp_path / "slides"), tmp_path / "out"
    model = write_model(tmp_path / "model", 16, 0.5)
    tasks = list_slides(table, out, HeatmapRequest(slide="", model=model))
    outcome = run_batch(tasks, out)
    rows = {Path(row.folder).relative_to(out).as_posix(): row for row in outcome.rows}
    assert {name: row.status for name, row in rows.items()} == {
        "a/painted.tiff": "done",
        "b/painted.tiff": "done",
        "broken.svs": "failed",
        "127.0.0.1:1/far.tiff": "failed",
        "white.tiff": "no-tissue",
    }
    assert "broken.svs" in rows["broken.svs"].reason
    assert rows["a/painted.tiff"].tiles == 24
    assert "http://127.0.0.1:1/far.tiff" in outcome.summary.read_text()
    assert "secret" not in outcome.summary.read_text() + outcome.to_text()
    with outcome.summary.open(newline="") as file:
        assert sorted(line["status"] for line in csv.DictReader(file)) == sorted(
            row.status for row in outcome.rows
        )
    first, second = (out / name / "painted.tiff" / "manifest.json" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    again = run_batch(tasks, out)
    assert sorted(row.status for row in again.rows) == ["failed", "failed", "kept", "kept", "kept"]


def test_addresses_that_cannot_be_opened_are_rows_that_tell_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "true")  # nobody is asked for others
    bad = ["s3://AKIA:SECRET@bucket/x.svs", "https://[SECRET/x.svs", "https://u:SE#CRET@host/x.svs"]
    (tmp_path / "slides.csv").write_text("\n".join(["path", *bad, "nowhere.svs", ""]))
    template = HeatmapRequest(slide="", model=write_model(tmp_path / "model", 16, 0.5))
    outcome = run_batch(
        list_slides(tmp_path / "slides.csv", tmp_path / "out", template), tmp_path / "out"
    )
    assert [row.status for row in outcome.rows] == ["failed"] * 4
    assert sum("the address is malformed" in row.reason for row in outcome.rows) == 2
    told = outcome.to_text() + outcome.summary.read_text()
    assert not any(secret in told for secret in ("SECRET", "CRET", "AKIA", "Traceback"))


@pytest.mark.slow
def test_killed_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    slides, out = write_large_slides(tmp_path / "slides", "large.tiff"), tmp_path / "out"
    model = write_model(tmp_path / "model", 16, 0.5)
    process = start_batch(slides, out, model)
    partial = out / "large.tiff.partial" / "scores.zarr.partial"
    done = wait_for_shards(process, [partial], 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    written = {path.parent.name: path.stat().st_mtime_ns for path in shard_files(partial)}
    assert done <= len(written) <= 32
    assert start_batch(slides, out, model).wait() == 0
    after = {
        path.parent.name: path.stat().st_mtime_ns
        for path in shard_files(out / "large.tiff" / "scores.zarr")
    }
    redone = [name for name, when in written.items() if after[name] != when]
    assert len(redone) <= 2
    assert_as_undisturbed(out, slides / "large.tiff", model)


@pytest.mark.slow
def test_slides_whose_worker_is_killed_twice_are_done_by_others(tmp_path: Path) -> None:
    """Both are suspected of it, and tried again one by one."""
    slides, out = write_large_slides(tmp_path / "slides", "a.tiff", "b.tiff"), tmp_path / "out"
    model = write_model(tmp_path / "model", 16, 0.5)
    process = start_batch(slides, out, model)
    killed: set[int] = set()
    partials = [out / "a.tiff.partial", out / "b.tiff.partial"]
    for shards in (2, 6):  # of the slide whose turn it is; the other one waits beside it
        while not all(partial.is_dir() for partial in partials):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        wait_for_shards(process, [partial / "scores.zarr.partial" for partial in partials], shards)
        # the one that follows a killed one may not be there yet
        (worker,) = wait_for(lambda: workers_of(process.pid) - killed)
        os.kill(worker, signal.SIGKILL)
        killed.add(worker)
    told, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, ""), told
    assert "2 slides: 2 done" in told
    for name in ("a.tiff", "b.tiff"):
        assert_as_undisturbed(out, slides / name, model)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_batch_leaves_no_process_and_only_partial_results(
    tmp_path: Path, number: signal.Signals
) -> None:
    slides, out = write_large_slides(tmp_path / "slides", "large.tiff"), tmp_path / "out"
    process = start_batch(slides, out, write_model(tmp_path / "model", 16, 0.5))
    wait_for_shards(process, [out / "large.tiff.partial" / "scores.zarr.partial"], 1)
    (worker,) = workers_of(process.pid)
    process.send_signal(number)
    told, complaints = process.communicate()
    assert process.returncode == 128 + number
    assert (told, len(complaints.splitlines())) == ("", 1)
    assert sorted(path.name for path in out.iterdir()) == ["large.tiff.partial", "summary.csv"]
    assert not is_alive(worker)


@pytest.mark.slow
def test_slide_that_nobody_waits_for_is_left_where_it_is(tmp_path: Path) -> None:
    slides = write_large_slides(tmp_path / "slides", "large.tiff")
    template = HeatmapRequest(slide="", model=write_model(tmp_path / "model", 16, 0.5), mask="none")
    (task,) = list_slides(slides, tmp_path / "out", template)
    partial = tmp_path / "out" / "large.tiff.partial"
    with connect() as client:
        future = client.submit(run_task, task, False)
        while not (partial / "scores.zarr.partial" / "journal.jsonl").exists():
            assert not future.done()
            time.sleep(0.005)
        future.cancel()
        while is_locked(partial):
            time.sleep(0.005)
    assert partial.is_dir()
    assert not task.folder.exists()


@pytest.mark.slow
def test_cluster_that_is_there_is_used_and_left_alone(tmp_path: Path) -> None:
    table, out = write_list(tmp_path / "slides"), tmp_path / "out"
    model = write_model(tmp_path / "model", 16, 0.5)
    tasks = list_slides(table, out, HeatmapRequest(slide="", model=model))
    address_file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(address_file)]
    scheduler = start_dask("scheduler", *common, "--port", "0", "--no-dashboard")
    worker = start_dask("worker", *common, "--nthreads", "2", "--no-dashboard")
    try:
        while (address := address_in(address_file)) is None:
            assert scheduler.poll() is None
            time.sleep(0.05)
        outcome = run_batch(tasks, out, scheduler=address)
        assert scheduler.poll() is None
        assert worker.poll() is None
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.communicate()
    statuses = [row.status for row in outcome.rows]
    assert sorted(statuses) == ["done", "done", "failed", "failed", "no-tissue"]


def address_in(file: Path) -> str | None:
    """None while the file is not there, or not yet whole."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def is_locked(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        FolderLock(folder).close()
    except StoreIncomplete:
        return True
    return False


def start_batch(slides: Path, out: Path, model: str) -> subprocess.Popen[str]:
    code = "from service.cli import main; main()"
    words = ["batch", str(slides), "-m", model, "--mask", "none", "-o", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=REPOSITORY,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_dask(role: str, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", role, *options],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def assert_as_undisturbed(out: Path, slide: Path, model: str) -> None:
    """The manifest is that of a run that nobody killed: the hash of every file is in it."""
    request = HeatmapRequest(slide=str(slide), model=model, mask="none")
    expected = run_request(request, out.with_name("undisturbed")).manifest
    assert json.loads((out / slide.name / "manifest.json").read_text()) == expected


def wait_for_shards(process: subprocess.Popen[str], stores: list[Path], count: int) -> int:
    """Until so many shards are in the journal of one of them."""
    while process.poll() is None:
        journals = [store / "journal.jsonl" for store in stores]
        texts = [journal.read_text() for journal in journals if journal.exists()]
        lines = max((len(text.split()) // 4 for text in texts), default=0)
        if lines >= count:
            return lines
        time.sleep(0.005)
    raise AssertionError("the batch ended before it could be killed")


def workers_of(pid: int) -> set[int]:
    """Dask's worker processes below a batch."""
    return {child for child in children_of(pid) if "spawn_main" in words_of(child)}


def words_of(pid: int) -> str:
    """Of its command; none once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def shard_files(store: Path) -> list[Path]:
    return [path for path in (store / "prob" / "c").rglob("*") if path.is_file()]
