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

from service.batch import run_batch
from service.batch_list import list_slides
from service.request import HeatmapRequest
from tests.service.painted import paint, write_model, write_slide

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own event loop and ports

REPOSITORY = Path(__file__).resolve().parents[2]


def write_list(folder: Path) -> Path:
    """Two slides of one name, one white, one that is no slide."""
    values = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        write_slide(folder / name / "painted.tiff", [paint(values, 16, 96, 64)], 0.5)
    write_slide(folder / "white.tiff", [np.full((600, 600, 3), 255, np.uint8)], 0.5)
    (folder / "broken.svs").write_text("this is no slide")
    table = folder / "slides.csv"
    table.write_text(
        "path,mask\na/painted.tiff,none\nb/painted.tiff,none\nwhite.tiff,\nbroken.svs,\n"
    )
    return table


def write_large_slide(folder: Path) -> Path:
    """128 x 256 tiles: 32 shards of scores."""
    folder.mkdir()
    values = (np.arange(128 * 256) * 89 % 241).astype(np.uint8).reshape(128, 256)
    write_slide(folder / "large.tiff", [paint(values, 16, 4096, 2048)], 0.5)
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
        "white.tiff": "no-tissue",
    }
    assert "broken.svs" in rows["broken.svs"].reason
    assert rows["a/painted.tiff"].tiles == 24
    with outcome.summary.open(newline="") as file:
        assert sorted(line["status"] for line in csv.DictReader(file)) == sorted(
            row.status for row in outcome.rows
        )
    first, second = (out / name / "painted.tiff" / "manifest.json" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    again = run_batch(tasks, out)
    assert sorted(row.status for row in again.rows) == ["failed", "kept", "kept", "kept"]


@pytest.mark.slow
def test_killed_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    slides = write_large_slide(tmp_path / "slides")
    model = write_model(tmp_path / "model", 16, 0.5)
    command = [sys.executable, "-c", "from service.cli import main; main()"]
    command += ["batch", str(slides), "-m", model, "--mask", "none", "-o"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "out")],
        cwd=REPOSITORY,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = tmp_path / "out" / "large.tiff.partial" / "scores.zarr.partial"
    done = wait_for_shards(process, partial, 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    written = {path.parent.name: path.stat().st_mtime_ns for path in shard_files(partial)}
    assert done <= len(written) <= 32
    assert (
        subprocess.run([*command, str(tmp_path / "out")], cwd=REPOSITORY, check=False).returncode
        == 0
    )
    scores = tmp_path / "out" / "large.tiff" / "scores.zarr"
    after = {path.parent.name: path.stat().st_mtime_ns for path in shard_files(scores)}
    redone = [name for name, when in written.items() if after[name] != when]
    assert len(redone) <= 2
    subprocess.run([*command, str(tmp_path / "undisturbed")], cwd=REPOSITORY, check=True)
    manifests = [
        json.loads((tmp_path / name / "large.tiff" / "manifest.json").read_text())
        for name in ("out", "undisturbed")
    ]
    assert manifests[0] == manifests[1]


def wait_for_shards(process: subprocess.Popen[bytes], store: Path, count: int) -> int:
    """Until so many shards are in the journal, or the process ended."""
    while process.poll() is None:
        journal = store / "journal.jsonl"
        lines = len(journal.read_text().split()) // 4 if journal.exists() else 0
        if lines >= count:
            return lines
        time.sleep(0.005)
    raise AssertionError("the batch ended before it could be killed")


def shard_files(store: Path) -> list[Path]:
    return [path for path in (store / "prob" / "c").rglob("*") if path.is_file()]
