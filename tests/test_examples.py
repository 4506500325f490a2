"""Each example runs as its first line says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.painted import write_model
from wsi.phantom import draw_phantom

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "phantom.tiff"
    draw_phantom(path, size_px=4000, mpp=0.5)
    return path


def run(example: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / example, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples_are_numbered_and_short() -> None:
    assert [path.name[:3] for path in EXAMPLES] == ["01_", "02_", "03_", "04_"]
    assert all(len(path.read_text().splitlines()) <= 40 for path in EXAMPLES)


def test_slide_to_heatmap_and_reading_it(phantom: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", 50, 4.0)
    shown = run("01_slide_to_heatmap.py", phantom, model, tmp_path)
    assert "mm2 of tissue" in shown
    assert (tmp_path / "phantom.tiff" / "overlay.png").is_file()
    tiles = int(shown.split()[0])
    read = run("04_read_a_result.py", tmp_path / "phantom.tiff")
    assert f"{tiles} tiles in tiles.csv" in read
    assert f"{tiles} features for QuPath" in read


def test_own_classifier_finds_purple(phantom: Path, tmp_path: Path) -> None:
    shown = run("02_own_classifier.py", phantom, tmp_path / "purple.zarr")
    assert "tiles, purple from" in shown
    assert (tmp_path / "purple.zarr" / "zarr.json").is_file()


def test_idc_patient_becomes_a_slide_that_the_readers_open(real_data: Path, tmp_path: Path) -> None:
    from wsi import open_slide

    shown = run("03_idc_mosaic_to_slide.py", real_data / "idc", "8957", tmp_path / "8957.tiff")
    assert "from 111 tiles" in shown
    with open_slide(tmp_path / "8957.tiff") as slide:
        assert slide.info.mpp == pytest.approx((4.0, 4.0))
        assert f"{slide.info.size.width}x{slide.info.size.height} px" in shown
