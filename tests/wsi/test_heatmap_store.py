"""Heatmaps on disk lie on the slide, and validate with readers that are not ours."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models.v04
import ome_zarr_models.v05
import pytest
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from wsi.errors import InvalidOption, ResultExists, StoreIncomplete
from wsi.geometry import Scale
from wsi.store import open_heatmap, read_heatmap, write_heatmap


@pytest.fixture(params=["heatmap.zarr", "a slide with spaces 🔬.zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def make_heatmap() -> tuple[list[NDArray[np.float32]], list[NDArray[np.uint8]]]:
    values = np.random.default_rng(2).random((2, 11, 7), np.float32)
    values[:, :3] = np.nan
    levels = [values, values[:, ::2, ::2].copy(), values[:, ::4, ::4].copy()]
    return levels, [np.isfinite(level[0]).astype(np.uint8) for level in levels]


def save_heatmap(path: Path, ngff: str = "0.5", **changes: Any) -> None:
    levels, labels = make_heatmap()
    options: dict[str, Any] = {
        "levels": levels,
        "labels": labels,
        "cell_um": Scale(200.0, 100.0),
        "origin_um": Scale(10.0, 20.0),
        "classes": ("non_idc", "idc"),
        "attributes": {"threshold": 0.4, "bounds0": [1, 2, 3, 4]},
        "ngff": ngff,
    }
    write_heatmap(path, **(options | changes))


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_a_heatmap_comes_back_as_it_was_written(path: Path, ngff: str):
    save_heatmap(path, ngff)
    stored = read_heatmap(path)
    levels, labels = make_heatmap()
    for got, given in zip((*stored.levels, *stored.labels), (*levels, *labels), strict=True):
        assert got.dtype == given.dtype
        np.testing.assert_array_equal(got, given)
    assert (stored.cell_um, stored.origin_um) == (Scale(200, 100), Scale(10, 20))
    assert stored.classes == ("non_idc", "idc")
    assert stored.attributes == {"threshold": 0.4, "bounds0": [1, 2, 3, 4]}


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_a_heatmap_and_its_label_image_pass_a_validator_that_is_not_ours(path: Path, ngff: str):
    save_heatmap(path, ngff)
    models = {"0.5": ome_zarr_models.v05, "0.4": ome_zarr_models.v04}[ngff]
    image = models.Image.from_zarr(zarr.open_group(LocalStore(path), mode="r"))
    assert image.labels is not None
    label = models.ImageLabel.from_zarr(
        zarr.open_group(LocalStore(path), path="labels/tissue", mode="r")
    )
    attributes = [m.ome_attributes if ngff == "0.5" else m.attributes for m in (image, label)]
    assert [len(a.multiscales[0].datasets) for a in attributes] == [3, 3]
    assert attributes[1].image_label.source.image == "../../"
    assert [axis.name for axis in attributes[0].multiscales[0].axes] == ["c", "y", "x"]


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_every_level_lies_on_the_slide_by_the_centres_of_its_cells(tmp_path: Path, ngff: str):
    save_heatmap(tmp_path / "heatmap.zarr", ngff)
    group: Any = zarr.open_group(LocalStore(tmp_path / "heatmap.zarr"), mode="r")
    for node, channel in ((group, True), (group["labels/tissue"], False)):
        metadata = node.attrs["ome"] if ngff == "0.5" else node.attrs
        datasets = metadata["multiscales"][0]["datasets"]
        scales = [d["coordinateTransformations"][0]["scale"][channel:] for d in datasets]
        centres = [d["coordinateTransformations"][1]["translation"][channel:] for d in datasets]
        # y, x: the first cell begins at (20, 10) um, and every level begins there
        assert scales == [[100, 200], [200, 400], [400, 800]]
        assert centres == [[70, 110], [120, 210], [220, 410]]


def test_dimension_names_are_those_of_the_axes(tmp_path: Path):
    save_heatmap(tmp_path / "heatmap.zarr")
    group: Any = zarr.open_group(LocalStore(tmp_path / "heatmap.zarr"), mode="r")
    assert group["1"].metadata.dimension_names == ("c", "y", "x")
    assert group["labels/tissue/1"].metadata.dimension_names == ("y", "x")


def test_version_0_4_keeps_chunks_in_folders_as_its_readers_expect(tmp_path: Path):
    save_heatmap(tmp_path / "heatmap.zarr", "0.4")
    assert (
        json.loads((tmp_path / "heatmap.zarr/0/.zarray").read_text())["dimension_separator"] == "/"
    )
    assert (tmp_path / "heatmap.zarr/0/1/0/0").is_file()


def test_viewers_are_told_to_show_the_class_that_was_asked_for(tmp_path: Path):
    save_heatmap(tmp_path / "heatmap.zarr", shown="non_idc")
    group: Any = zarr.open_group(LocalStore(tmp_path / "heatmap.zarr"), mode="r")
    channels = group.attrs["ome"]["omero"]["channels"]
    assert [(c["label"], c["active"]) for c in channels] == [("non_idc", True), ("idc", False)]


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_channels_follow_the_classes_and_keep_their_names_and_ranges(tmp_path: Path, ngff: str):
    path = tmp_path / "heatmap.zarr"
    save_heatmap(path, ngff, classes=("idc",), channels=("uncertainty",))
    stored = read_heatmap(path)
    assert (stored.classes, stored.channels) == (("idc",), ("uncertainty",))
    group: Any = zarr.open_group(LocalStore(path), mode="r")
    omero = group.attrs["ome"]["omero"] if ngff == "0.5" else group.attrs["omero"]
    shown = [(c["label"], c["active"], c["window"]["end"]) for c in omero["channels"]]
    assert shown == [("idc", True, 1.0), ("uncertainty", False, 0.5)]


def test_a_heatmap_of_before_there_were_channels_has_none(tmp_path: Path):
    path = tmp_path / "heatmap.zarr"
    save_heatmap(path)
    metadata = json.loads((path / "zarr.json").read_text())
    del metadata["attributes"]["wsi"]["channels"]
    (path / "zarr.json").write_text(json.dumps(metadata))
    assert read_heatmap(path).channels == ()
    assert open_heatmap(path).channels == ()


def test_a_heatmap_that_is_there_is_kept_unless_it_may_be_overwritten(tmp_path: Path):
    save_heatmap(tmp_path / "heatmap.zarr")
    with pytest.raises(ResultExists):
        save_heatmap(tmp_path / "heatmap.zarr", attributes={})
    save_heatmap(tmp_path / "heatmap.zarr", attributes={}, overwrite=True)
    assert read_heatmap(tmp_path / "heatmap.zarr").attributes == {}


def test_a_heatmap_that_could_not_be_written_leaves_nothing(tmp_path: Path):
    with pytest.raises(TypeError):
        save_heatmap(tmp_path / "heatmap.zarr", attributes={"not JSON": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ngff": "0.6"}, r"0\.6: use one of 0\.5, 0\.4"),
        ({"classes": ("idc",)}, r"do not have a plane for each of \('idc',\)"),
        ({"labels": make_heatmap()[1][:2]}, "not as large"),
        ({"levels": make_heatmap()[0][::2], "labels": make_heatmap()[1][::2]}, "is not half"),
    ],
)
def test_a_heatmap_that_does_not_fit_together_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
):
    with pytest.raises(InvalidOption, match=message):
        save_heatmap(tmp_path / "heatmap.zarr", **changes)


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize("part", ["image", "labels/tissue"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_or_missing_chunk_is_not_read_as_no_tissue(
    tmp_path: Path, ngff: str, part: str, damage: str
):
    path = tmp_path / "heatmap.zarr"
    save_heatmap(path, ngff)
    level = path / ("1" if part == "image" else f"{part}/1")
    chunk = next(f for f in level.rglob("*") if f.is_file() and f.name.isdecimal())
    chunk.unlink() if damage == "gone" else chunk.write_bytes(chunk.read_bytes()[:5])
    with pytest.raises(StoreIncomplete, match="damaged or missing"):
        read_heatmap(path)


@pytest.mark.parametrize("part", ["0", "labels", "labels/tissue/2"])
def test_a_heatmap_that_lost_a_part_is_incomplete(tmp_path: Path, part: str):
    path = tmp_path / "heatmap.zarr"
    save_heatmap(path)
    shutil.rmtree(path / part)
    with pytest.raises(StoreIncomplete, match="damaged or missing"):
        read_heatmap(path)
