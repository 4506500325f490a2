"""The command line on slides behind a web server."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.service.painted import paint, write_model, write_slide
from tests.service.test_cli import wsi
from tests.wsi.readers.repeated import write_repeated
from tests.wsi.readers.webserver import serving


def test_info_of_a_url_is_that_of_the_file(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tiff", [paint(np.zeros((4, 6), np.uint8), 16, 96, 64)], 0.5)
    local = json.loads(wsi("info", tmp_path / "a.tiff", "--json").stdout)
    with serving(tmp_path) as web:
        done = wsi("info", f"{web.url}/a.tiff", "--json")
    assert done.returncode == 0, done.stderr
    remote = json.loads(done.stdout)
    same = ("reader", "why", "width", "height", "mpp", "mpp_source", "levels", "warnings")
    assert [remote[name] for name in same] == [local[name] for name in same]


def test_a_heatmap_of_a_url_is_that_of_the_file(tmp_path: Path) -> None:
    values = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    write_slide(tmp_path / "a.tiff", [paint(values, 16, 96, 64)], 0.5)
    given = ["--model", write_model(tmp_path / "model", 16, 0.5), "--mask", "none", "--json"]
    with serving(tmp_path) as web:
        address = web.url.replace("//", "//user:word@") + "/a.tiff?signature=secret"
        done = wsi("heatmap", address, *given, "--out", tmp_path / "remote")
        local = wsi("heatmap", tmp_path / "a.tiff", *given, "--out", tmp_path / "local")
    assert done.returncode == 0, done.stderr
    remote, local = json.loads(done.stdout), json.loads(local.stdout)
    assert remote["folder"] == str(tmp_path / "remote" / "a.tiff")
    assert remote["manifest"]["summary"] == local["manifest"]["summary"]
    assert remote["manifest"]["slide"]["identity"] == {
        "url": f"{web.url}/a.tiff",
        "size_bytes": (tmp_path / "a.tiff").stat().st_size,
        "etag": "v1",
    }
    written = b"".join(p.read_bytes() for p in (tmp_path / "remote").rglob("*.json"))
    assert b"secret" not in written
    assert b"user:word" not in written


def test_a_heatmap_at_4_um_px_fetches_less_than_3_percent_of_a_40x_slide(tmp_path: Path) -> None:
    slide = write_repeated(tmp_path / "a.tiff", side_px=20_480)
    model = write_model(tmp_path / "model", 50, 4.0)
    with serving(tmp_path) as web:
        out = ["--out", tmp_path / "out", "--json"]
        done = wsi("heatmap", f"{web.url}/a.tiff", "--model", model, *out)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"]["tiles"] == 26 * 26
    assert 0 < web.sent_bytes < 0.03 * slide.stat().st_size


@pytest.mark.parametrize(
    ("turned", "sentence"),
    [
        ({"has_ranges": False}, "does not serve parts of a file"),
        ({"failing": [403]}, "does not give it to us (403)"),
        ({"failing": [418]}, "the server answers 418"),
    ],
)
def test_a_server_that_refuses_is_one_sentence_and_exit_code_1(
    tmp_path: Path, turned: dict[str, object], sentence: str
) -> None:
    write_slide(tmp_path / "a.tiff", [paint(np.zeros((4, 6), np.uint8), 16, 96, 64)], 0.5)
    with serving(tmp_path) as web:
        vars(web).update(turned)
        done = wsi("info", f"{web.url}/a.tiff?signature=secret")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_log_of_a_remote_slide_tells_no_secret(tmp_path: Path) -> None:
    """In a process of its own: here the test's handlers are the ones that count."""
    code = "from service.cli import main; main()"
    write_slide(tmp_path / "painted.tiff", [paint(np.zeros((4, 6), np.uint8), 16, 96, 64)], 0.5)
    with serving(tmp_path) as web:
        address = web.url.replace("//", "//user:secret@") + "/painted.tiff?signature=secret"
        words = [sys.executable, "-c", code, "--verbose", "info", address]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "width: 96" in done.stdout
    assert "secret" not in done.stdout + done.stderr
