import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi.errors import InvalidOption
from wsi.mosaic import LabelledTile, assemble_mosaic, cut_padding

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "03_idc_mosaic_to_slide.py"


def make_tile(
    x: int = 1, y: int = 1, value: int = 7, label: int = 0, width: int = 50, height: int = 50
):
    return LabelledTile(np.full((height, width, 3), value, np.uint8), x, y, label)


def test_the_tile_at_1_1_lies_in_the_top_left_corner():
    mosaic = assemble_mosaic([make_tile(x=1, y=1, value=9)])
    assert mosaic.rgb.shape == (50, 50, 3)
    assert (mosaic.rgb == 9).all()


def test_x_is_the_column_and_neighbours_adjoin():
    mosaic = assemble_mosaic([make_tile(x=1, value=10), make_tile(x=51, value=20)])
    assert mosaic.rgb.shape == (50, 100, 3)
    assert (mosaic.rgb[:, 49] == 10).all()
    assert (mosaic.rgb[:, 50] == 20).all()


def test_a_small_tile_at_the_edge_ends_the_picture():
    mosaic = assemble_mosaic([make_tile(), make_tile(x=51, y=1, width=20, height=50)])
    assert mosaic.rgb.shape == (50, 70, 3)


def test_where_no_tile_is_the_picture_is_white_and_the_label_0():
    mosaic = assemble_mosaic([make_tile(label=0), make_tile(x=51, y=51, label=1)])
    assert (mosaic.rgb[:50, 50:] == 255).all()
    assert [mosaic.label[y, x] for y, x in ((0, 0), (0, 99), (99, 0), (99, 99))] == [1, 0, 0, 2]


def test_padding_of_a_loader_is_cut_from_the_right_and_the_bottom():
    padded = np.full((50, 50, 3), 255, np.uint8)
    padded[:30, :40] = 200
    assert cut_padding(padded).shape == (30, 40, 3)


def test_white_inside_a_tile_is_not_padding():
    rgb = np.full((50, 50, 3), 255, np.uint8)
    rgb[49, 49] = 0
    assert cut_padding(rgb).shape == (50, 50, 3)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([], "no tiles"),
        ([make_tile(x=0)], "start at 1"),
        ([make_tile(), make_tile(x=31)], r"over each other at \(31, 1\)"),
    ],
)
def test_tiles_that_make_no_slide_are_refused(tiles: list[LabelledTile], message: str):
    with pytest.raises(InvalidOption, match=message):
        assemble_mosaic(tiles)


def test_the_example_makes_a_slide_out_of_published_files(tmp_path: Path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 250, (100, 120, 3), dtype=np.uint8)
    for x, y, label in ((1, 1, 0), (51, 1, 1), (101, 1, 0), (1, 51, 1), (101, 51, 0)):
        folder = tmp_path / "data" / "77" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        rgb = picture[y - 1 : y + 49, x - 1 : x + 49]
        Image.fromarray(rgb).save(folder / f"77_idx5_x{x}_y{y}_class{label}.png")
    picture[50:, 50:100] = 255  # of this one there is no file
    out = tmp_path / "slide.tiff"
    subprocess.run([sys.executable, EXAMPLE, tmp_path / "data", "77", out], check=True)
    assert (tifffile.imread(out) == picture).all()
    truth = np.asarray(Image.open(tmp_path / "slide.truth.png"))
    assert truth[0, [0, 50, 119]].tolist() == [127, 255, 127]
    assert truth[99, [0, 50, 119]].tolist() == [255, 0, 127]


@pytest.mark.real_data
def test_neighbours_of_a_real_patient_adjoin_without_a_seam(real_data: Path):
    sheet = np.asarray(Image.open(real_data / "idc" / "8916.webp").convert("RGB"))
    with (real_data / "idc" / "tiles.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["patient"] == "8916"]
    mosaic = assemble_mosaic(packed_tile(sheet, row) for row in rows)
    assert mosaic.rgb.shape == (1700, 1200, 3)
    assert (mosaic.label == 2).sum() / (mosaic.label > 0).sum() == pytest.approx(0.649, abs=0.001)
    grey = mosaic.rgb.astype(float).mean(axis=2)
    both = (mosaic.label[:, 49:-1:50] > 0) & (mosaic.label[:, 50::50] > 0)
    across = np.abs(grey[:, 49:-1:50] - grey[:, 50::50])[both].mean()
    within = np.abs(grey[:, 48:-2:50] - grey[:, 49:-1:50])[both].mean()
    assert across == pytest.approx(within, rel=0.1)


def packed_tile(sheet: np.ndarray, row: dict[str, str]) -> LabelledTile:
    top, left = (50 * n for n in divmod(int(row["index"]), 64))
    rgb = sheet[top : top + int(row["height"]), left : left + int(row["width"])]
    return LabelledTile(rgb, int(row["x"]), int(row["y"]), int(row["label"]))
