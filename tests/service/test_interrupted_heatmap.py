"""Ctrl-C in the middle of a slide: one sentence, only partial folders, and nothing is lost."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.pipeline import run_request
from service.request import HeatmapRequest
from tests.service.painted import paint, write_model, write_slide

REPOSITORY = Path(__file__).resolve().parents[2]


def write_large_slide(path: Path) -> Path:
    """128 x 128 tiles: 16 shards of scores."""
    values = (np.arange(128 * 128) * 89 % 241).astype(np.uint8).reshape(128, 128)
    return write_slide(path, [paint(values, 16, 2048, 2048)], 0.5)


def interrupt(words: list[str], is_time: Callable[[], bool]) -> tuple[int, str, str]:
    """Exit code and what was said by a `wsi` that gets SIGINT once `is_time` says so."""
    code = "from service.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=REPOSITORY,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not is_time():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate()
    return process.returncode, told, complaints


@pytest.mark.parametrize("file", ["scores.zarr.partial/journal.jsonl", "scores.zarr/zarr.json"])
def test_interrupted_heatmap_is_partial_and_goes_on(tmp_path: Path, file: str) -> None:
    """While tiles are scored, and when they have been: the outputs are being written then."""
    slide, out = write_large_slide(tmp_path / "large.tiff"), tmp_path / "out"
    model = write_model(tmp_path / "model", 16, 0.5)
    words = ["heatmap", str(slide), "--out", str(out), "--model", model, "--mask", "none"]
    partial = out / "large.tiff.partial"
    code, told, complaints = interrupt(words, (partial / file).exists)
    assert (code, told, len(complaints.splitlines())) == (130, "", 1), complaints
    assert "goes on where this one was" in complaints
    assert [path.name for path in out.iterdir()] == ["large.tiff.partial"]
    request = HeatmapRequest(slide=str(slide), model=model, mask="none")
    resumed = run_request(request, out)
    expected = run_request(request, tmp_path / "undisturbed").manifest
    assert resumed.manifest == expected
    assert json.loads((resumed.folder / "manifest.json").read_text()) == expected
    assert [path.name for path in out.iterdir()] == ["large.tiff"]
