"""One result in every format, each opened by a library of other people's: one rectangle, one score.

24.8 level-0 px to a tile: starts are 0, 25, 50, 74, 99, 124, so that widths differ.
"""

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import shapely
import tifffile
import zarr
from numpy.typing import NDArray

from tests.service.painted import paint, write_model, write_slide
from tests.service.test_cli import wsi

MPP = 0.5
STARTS = (0, 25, 50, 74, 99, 124, 149)
VALUES = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)  # red, a value a tile
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Tile:
    box0: tuple[int, int, int, int]  # x, y, width, height in level-0 px
    prob: float


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    slide = write_slide(folder / "painted.tiff", [paint(VALUES, 24.8, 149, 99)], MPP)
    model = write_model(folder / "model", 16, 24.8 * MPP / 16)
    formats = ["-f", "ome-tiff", "-f", "hdf5"]
    done = wsi("heatmap", slide, "-o", folder / "out", "-m", model, "--mask", "none", *formats)
    assert done.returncode == 0, done.stderr
    return folder / "out" / "painted.tiff"


@pytest.fixture(scope="module")
def tiles(result: Path) -> list[Tile]:
    with (result / "tiles.csv").open(newline="") as file:
        return [
            Tile(
                (int(r["minx"]), int(r["miny"]), int(r["width"]), int(r["height"])),
                float(r["prob_painted"]),
            )
            for r in csv.DictReader(file)
        ]


def cell_at_centre(
    values: NDArray[np.float32], box0: tuple[int, int, int, int], first_um: NDArray[np.float64],
    cell_um: NDArray[np.float64],
) -> float:  # fmt: skip
    """The value of values[y, x] whose centre is nearest the box's, and not half a px away from it.

    first_um: x and y of the centre of values[0, 0].
    """
    x, y, width, height = box0
    at = (np.array([x + width / 2, y + height / 2]) * MPP - first_um) / cell_um
    cell = np.rint(at).astype(int)
    assert np.abs(at - cell).max() * cell_um.max() <= MPP
    return float(values[cell[1], cell[0]])


def test_csv_has_the_painted_tiles_where_they_were_painted(tiles: list[Tile]) -> None:
    found = {tile.box0: tile.prob for tile in tiles}
    for row, column in np.ndindex(VALUES.shape):
        x, y = STARTS[column], STARTS[row]
        box0 = (x, y, STARTS[column + 1] - x, STARTS[row + 1] - y)
        assert found.pop(box0) == pytest.approx(VALUES[row, column] / 255, abs=0.51 / 255)
    assert not found


def test_geojson_agrees(result: Path, tiles: list[Tile]) -> None:
    with gzip.open(result / "tiles.geojson.gz", "rt") as file:
        features = json.load(file)["features"]
    assert len(features) == len(tiles)
    found = {shapely.from_geojson(json.dumps(f["geometry"])).bounds: f for f in features}
    for tile in tiles:
        x, y, width, height = tile.box0
        measured = found[x, y, x + width, y + height]["properties"]["measurements"]
        assert measured["prob_painted"] == pytest.approx(tile.prob, abs=TOLERANCE)


def test_hdf5_agrees(result: Path, tiles: list[Tile]) -> None:
    with h5py.File(result / "tiles.h5") as file:
        boxes = np.concatenate([file["coords"][:], file["size0"][:]], axis=1)
        positive = list(file["prob"].attrs["classes"]).index("painted")
        prob = file["prob"][:, positive]
        assert file["coords"].attrs["patch_level"] == 0
    assert [tuple(map(int, box)) for box in boxes] == [tile.box0 for tile in tiles]
    np.testing.assert_allclose(prob, [tile.prob for tile in tiles], atol=TOLERANCE)


def test_ome_zarr_agrees(result: Path, tiles: list[Tile]) -> None:
    group = zarr.open_group(result / "heatmap.zarr", mode="r")
    ome = group.attrs["ome"]
    first = ome["multiscales"][0]["datasets"][0]
    scale, shift = (list(first["coordinateTransformations"][i].values())[-1] for i in (0, 1))
    channel = [c["label"] for c in ome["omero"]["channels"]].index("painted")
    values = group[first["path"]][channel]
    for tile in tiles:
        found = cell_at_centre(values, tile.box0, np.array(shift[:0:-1]), np.array(scale[:0:-1]))
        assert found == pytest.approx(tile.prob, abs=TOLERANCE)


def test_ome_tiff_agrees(result: Path, tiles: list[Tile]) -> None:
    with tifffile.TiffFile(result / "heatmap.ome.tiff") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        values = tiff.series[0].asarray()
    channel = [c["Name"] for c in pixels["Channel"]].index("painted")
    first_um = np.array([pixels["Plane"][channel][f"Position{axis}"] for axis in "XY"])
    cell_um = np.array([pixels[f"PhysicalSize{axis}"] for axis in "XY"])
    for tile in tiles:
        found = cell_at_centre(values[channel], tile.box0, first_um, cell_um)
        assert found == pytest.approx(tile.prob, abs=TOLERANCE)
