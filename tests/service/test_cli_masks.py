"""The command line with a mask of somebody's own."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.test_cli import wsi


def test_mask_can_be_given_back(painted: Path, model: str, tmp_path: Path) -> None:
    wsi("mask", painted, "-o", tmp_path, "--mask", "none")
    own = tmp_path / "painted.tiff.mask.png"
    done = wsi("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", own)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out/painted.tiff/tiles.csv").read_text().splitlines()) == 25


@pytest.mark.parametrize("command", ["heatmap", "batch", "tile", "mask"])
def test_mask_counts_from_where_the_option_says(
    painted: Path, model: str, tmp_path: Path, command: str
) -> None:
    """The file says that it counts from the second column of tiles, the option that it does not:
    its 5 x 4 tiles are the slide's last ones, or its first."""
    ring = [[0, 0], [80, 0], [80, 64], [0, 64], [0, 0]]
    about = {"type": "Polygon", "coordinates": [ring], "wsi": {"origin0": [16, 0]}}
    own = tmp_path / "own.geojson"
    own.write_text(json.dumps(about))
    (tmp_path / "list.csv").write_text("path\npainted.tiff\n")
    slide = tmp_path / "list.csv" if command == "batch" else painted
    sizes = ("--tile-px", 16, "--tile-mpp", 0.5) if command == "tile" else ()
    models = ("-m", model) if command in ("heatmap", "batch") else ()
    found = []
    for options in ((), ("--mask-frame", "level0")):
        out = tmp_path / f"out{len(options)}"
        done = wsi(command, slide, "-o", out, "--mask", own, *sizes, *models, *options)
        assert done.returncode == 0, done.stderr
        found.append(first_column(command, out))
    assert found == [1, 0]


def first_column(command: str, out: Path) -> int:
    """Of the tissue, counted in tiles of 16 px."""
    from wsi.store import TileStore

    if command == "tile":
        return int(TileStore.open(out / "painted.tiff.tiles.zarr").xy0[:, 0].min()) // 16
    if command == "mask":
        mask = np.asarray(Image.open(out / "painted.tiff.mask.png"))
        return int(np.nonzero(mask)[1].min())  # 8 um a px, as a tile
    lines = (out / "painted.tiff/tiles.csv").read_text().splitlines()[1:]
    return min(int(line.partition(",")[0]) for line in lines) // 16
