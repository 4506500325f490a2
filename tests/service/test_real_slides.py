"""Real files on the command line: every slide runs or is refused in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from tests.service.painted import write_model
from tests.service.test_cli import wsi

pytestmark = pytest.mark.real_data

READ_SENSIBLY = {"rgb16.tif", "two-pixels-la.tiff"}
"""16 bits scaled to 8, alpha over white; the other malformed files are refused."""

MALFORMED = [
    "not-a-tiff.svs", "unopenable.tiff", "unreadable.svs", "zero-height.tif", "two-pixels-la.tiff",
    "ojpeg-tile.tif", "ojpeg-strip.tif", "subsampled.tif", "1bit.tif", "2bit.tif", "4bit.tif",
    "rgb16.tif", "fluorescence-z-stack.ome.tif", "fluorescence.czi", "dicom-grayscale.dcm",
    "dicom-jpegls.dcm", "dicom-label-only.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_file_is_one_sentence_that_names_it(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    model = write_model(tmp_path / "model")
    done = wsi(
        "heatmap", real_data / "malformed" / name, "-o", tmp_path, "-m", model,
        "--mpp", 4, "--mask", "none",
    )  # fmt: skip
    if name in READ_SENSIBLY:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "heatmap.zarr").exists()
        return
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert name in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_truncated_pickle_as_model_names_the_way_out(real_data: Path, tmp_path: Path) -> None:
    slide = real_data / "slides" / "CMU-1-Small-Region.svs"
    weights = real_data / "malformed" / "truncated-weights.pth"
    done = wsi("heatmap", slide, "-o", tmp_path, "-m", weights)
    assert done.returncode == 1
    assert "truncated-weights.pth" in done.stderr
    assert "wsi models import" in done.stderr
    imported = wsi("models", "import", weights, "-o", tmp_path / "x.safetensors")
    assert imported.returncode == 1
    assert "truncated-weights.pth" in imported.stderr
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "tile_px", "tile_mpp", "options"),
    [
        ("CMU-1-Small-Region.svs", 256, 0.5, ()),
        ("CMU-1-Small-Region.svs", 50, 4.0, ()),
        ("tcga-cr-7395-jp2k-no-mpp.svs", 50, 4.0, ("--mpp", "0.5")),
        ("bone-raw.dcm", 50, 4.0, ("--mpp", "4", "--mask", "none")),
        ("bone-jpeg.dcm", 50, 4.0, ("--mpp", "4", "--mask", "none")),
        ("bone-jpeg2000.dcm", 50, 4.0, ("--mpp", "4", "--mask", "none")),
        ("camelyon-multiframe.dcm", 16, 28.97, ("--mask", "none")),
        ("yb10kx5k.zstd.tiff", 50, 4.0, ("--mpp", "0.5", "--mask", "none")),
        ("kidney-untiled-no-mpp.tif", 50, 4.0, ("--mpp", "2", "--mask", "none")),
    ],
)
def test_real_slide_runs_whole(
    real_data: Path,
    tmp_path: Path,
    name: str,
    tile_px: int,
    tile_mpp: float,
    options: tuple[str, ...],
) -> None:
    model = write_model(tmp_path / "model", tile_px, tile_mpp)
    done = wsi(
        "heatmap", real_data / "slides" / name, "-o", tmp_path, "-m", model, *options, "--json"
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest["tiles"] > 0
    assert (tmp_path / name / "overlay.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["tcga-cr-7395-jp2k-no-mpp.svs", "yb10kx5k.zstd.tiff"])
def test_missing_resolution_is_refused_with_the_option(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    done = wsi("heatmap", real_data / "slides" / name, "-o", tmp_path, "-m", write_model(tmp_path))
    assert done.returncode == 1
    assert name in done.stderr
    assert "--mpp" in done.stderr


def test_name_with_spaces_an_emoji_and_200_characters(real_data: Path, tmp_path: Path) -> None:
    name = "a slide " + "x" * 186 + " 🔬.svs"
    assert len(name) == 200
    slide = tmp_path / name
    shutil.copy(real_data / "slides" / "CMU-1-Small-Region.svs", slide)
    done = wsi("heatmap", slide, "-o", tmp_path / "out", "-m", write_model(tmp_path / "m", 50, 4))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / name / "manifest.json").is_file()


def test_breakhis_picture_runs_with_its_resolution(real_data: Path, tmp_path: Path) -> None:
    picture = real_data / "breakhis" / "SOB_M_DC-14-2523-40-010.png"
    model = write_model(tmp_path / "model", 50, 4)
    assert wsi("heatmap", picture, "-o", tmp_path, "-m", model).returncode == 1
    done = wsi("heatmap", picture, "-o", tmp_path, "-m", model, "--mpp", 2.0)
    assert done.returncode == 0, done.stderr
