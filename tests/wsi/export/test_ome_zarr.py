import json
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models.v04
import ome_zarr_models.v05
import pytest
import zarr

from tests.wsi.export.sources import make_source
from wsi.errors import ResultExists
from wsi.export import ExportSource, export
from wsi.export.ome_zarr import read
from wsi.geometry import Box, Mpp, Size

MODELS: dict[str, Any] = {"0.4": ome_zarr_models.v04, "0.5": ome_zarr_models.v05}


def make_wide_source(**options: Any) -> ExportSource:
    """600 columns of cells, 3 rows: three levels."""
    options.setdefault("indices", [(r, c) for r in range(3) for c in range(600)])
    return make_source(**{"size0": Size(600 * 800, 3 * 800), **options})


def read_multiscale(path: Path, ngff: str) -> dict[str, Any]:
    name = "zarr.json" if ngff == "0.5" else ".zattrs"
    content = json.loads((path / name).read_text())
    content = content["attributes"]["ome"] if ngff == "0.5" else content
    (multiscale,) = content["multiscales"]
    return dict(multiscale)


def place(multiscale: dict[str, Any], level: int, cell: tuple[int, int, int]) -> list[float]:
    """Where the metadata say that a cell of a level is: scale, then translation; (c, y, x)."""
    position = np.array(cell, float)
    for transform in multiscale["datasets"][level]["coordinateTransformations"]:
        if transform["type"] == "scale":
            position = position * transform["scale"]
        else:
            position = position + transform["translation"]
    return [float(v) for v in position]


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_another_projects_models_accept_the_image_and_its_labels(ngff: str, tmp_path: Path):
    path = export(make_wide_source(), "ome-zarr", tmp_path / "heatmap.zarr", ngff=ngff)
    group = zarr.open_group(path, mode="r")
    image = MODELS[ngff].Image.from_zarr(group)
    assert image.labels is not None
    MODELS[ngff].ImageLabel.from_zarr(group["labels/tissue"])


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_a_cells_centre_lies_at_its_place_on_the_slide_at_each_level(ngff: str, tmp_path: Path):
    source = make_wide_source(
        mpp=Mpp(0.25, 0.5), size0=Size(481_000, 1500), bounds=Box(1000, 300, 480_000, 1200)
    )
    path = export(source, "ome-zarr", tmp_path / "heatmap.zarr", ngff=ngff)
    multiscale = read_multiscale(path, ngff)
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "y", "x"]
    assert {axis.get("unit") for axis in multiscale["axes"][1:]} == {"micrometer"}
    assert len(multiscale["datasets"]) == 3
    # a cell is 800 by 400 px of 0.25 by 0.5 um: 200 um both ways; bounds start at 250 and 150 um
    assert place(multiscale, 0, (1, 0, 0)) == [1.0, 150 + 100, 250 + 100]
    assert place(multiscale, 0, (0, 2, 7)) == [0.0, 150 + 500, 250 + 1500]
    assert place(multiscale, 1, (0, 0, 3)) == [0.0, 150 + 200, 250 + 1400]
    assert place(multiscale, 2, (0, 0, 149)) == [0.0, 150 + 400, 250 + 149.5 * 800]


def test_the_centre_of_a_cell_is_the_centre_of_its_tile(tmp_path: Path):
    source = make_source(mpp=Mpp(0.25, 0.25), bounds=Box(1000, 500, 1600, 1600))
    path = export(source, "ome-zarr", tmp_path / "heatmap.zarr")
    multiscale = read_multiscale(path, "0.5")
    for row, column in source.indices.tolist():
        box0 = source.grid.box0(row, column)
        _, y_um, x_um = place(multiscale, 0, (0, row, column))
        assert (x_um / 0.25, y_um / 0.25) == (box0.x + 400, box0.y + 400)


def test_the_values_are_the_heatmaps(tmp_path: Path):
    source = make_source()
    path = export(source, "ome-zarr", tmp_path / "heatmap.zarr")
    values = zarr.open_array(path / "0", mode="r")[...]
    assert np.isnan(values[:, 0, 0]).all()
    assert values[1, 2].tolist() == [8 / 16, 9 / 16, 10 / 16, 11 / 16]


def test_the_labels_are_tissue_by_area_with_as_many_levels_as_the_image(tmp_path: Path):
    tissue = np.zeros((75, 15_000), bool)  # 32 level-0 px a pixel: 25 a cell
    tissue[:, :25] = True  # all of column 0
    tissue[:13, 25:50] = True  # 13 of 25 rows of cell (0, 1)
    tissue[25:37, 25:50] = True  # 12 of 25 rows of cell (1, 1)
    path = export(make_wide_source(tissue=tissue), "ome-zarr", tmp_path / "heatmap.zarr")
    labels = [zarr.open_array(path / "labels/tissue" / str(k), mode="r")[...] for k in range(3)]
    assert [label.shape for label in labels] == [(3, 600), (2, 300), (1, 150)]
    assert labels[0][:, :3].tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert labels[0][:, 3:].max() == 0
    # blocks of 2 by 2: (1 + 13/25 + 1 + 12/25) / 4 = 3/4; below, (1 + 0) / 2
    assert labels[1][:, :2].tolist() == [[1, 0], [1, 0]]


def test_with_bounds_the_labels_stay_on_the_slides_tissue(tmp_path: Path):
    tissue = np.zeros((75, 100), bool)
    tissue[25:50, 50:75] = True  # level-0 px 1600..2400 across, 800..1600 down
    source = make_source(bounds=Box(800, 800, 2400, 1600), tissue=tissue)
    path = export(source, "ome-zarr", tmp_path / "heatmap.zarr")
    label = zarr.open_array(path / "labels/tissue/0", mode="r")[...]
    assert label.tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_the_heatmap_comes_back_whole(ngff: str, tmp_path: Path):
    source = make_source(mpp=Mpp(0.2527, 0.2531), bounds=Box(100, 50, 1600, 1600), stride_px=25)
    back = read(export(source, "ome-zarr", tmp_path / "heatmap.zarr", ngff=ngff))
    assert np.array_equal(back.values, source.heatmap.values, equal_nan=True)
    for name in (
        "classes", "positive_class", "threshold", "size0", "slide_mpp", "bounds0", "cell0"
    ):  # fmt: skip
        assert getattr(back, name) == getattr(source.heatmap, name)


def test_what_is_there_is_not_overwritten_unasked(tmp_path: Path):
    path = export(make_source(), "ome-zarr", tmp_path / "heatmap.zarr")
    with pytest.raises(ResultExists):
        export(make_source(), "ome-zarr", path)
    other = make_source(indices=[(0, 0)], prob=[[0.25, 0.75]])
    export(other, "ome-zarr", path, overwrite=True)
    assert read(path).positive[0, 0] == 0.75


def test_a_slide_without_tissue_has_an_empty_heatmap(tmp_path: Path):
    source = make_source(indices=[], prob=[], tissue=np.zeros((75, 100), bool))
    path = export(source, "ome-zarr", tmp_path / "heatmap.zarr")
    assert np.isnan(read(path).values).all()
    assert zarr.open_array(path / "labels/tissue/0", mode="r")[...].max() == 0


def test_a_label_is_the_rounded_part_of_its_cell_that_is_tissue(tmp_path: Path):
    tissue = np.random.default_rng(5).random((1450, 45)) < np.linspace(0.3, 0.7, 45)
    source = make_source(size0=Size(1440, 46_400), tile_mpp=3.3, tissue=tissue)  # cells of 660 px
    path = export(source, "ome-zarr", tmp_path / "heatmap.zarr")
    label = zarr.open_array(path / "labels/tissue/0", mode="r")[...]

    def covered(cell: int, pixels: int) -> Any:
        """Of each mask px of 32 level-0 px, what lies in the cell."""
        first = np.arange(pixels) * 32
        return np.clip(
            np.minimum(660 * cell + 660, first + 32) - np.maximum(660 * cell, first), 0, 32
        )

    for row, column in np.ndindex(71, 3):
        down, across = covered(row, 1450), covered(column, 45)
        part = down @ tissue @ across / (down.sum() * across.sum())
        if abs(part - 0.5) > 1e-5:
            assert label[row, column] == (part > 0.5)
    assert 0.2 < label.mean() < 0.8
