import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.wsi.export.sources import make_info, make_source
from wsi.errors import InvalidOption
from wsi.export import export
from wsi.geometry import Box, Mpp, Size


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    with h5py.File(path) as file:
        return file["coords"][...], dict(file["coords"].attrs)


def test_coords_are_the_top_left_corners_on_level_0(tmp_path: Path):
    source = make_source(bounds=Box(1000, 500, 1600, 1600), indices=[(0, 0), (1, 0), (1, 1)])
    coords, attributes = read(export(source, "hdf5", tmp_path / "t.h5"))
    assert coords.tolist() == [[1000, 500], [1000, 1300], [1800, 1300]]
    assert coords.dtype == np.int64
    assert (attributes["level0_width"], attributes["level0_height"]) == (3200, 2400)
    assert attributes["name"] == "slide one"


def test_clam_and_wsinfer_read_level_0_and_the_side_of_a_tile_there(tmp_path: Path):
    _, attributes = read(export(make_source(), "hdf5", tmp_path / "t.h5"))
    assert (attributes["patch_level"], attributes["patch_size"]) == (0, 800)


def field_that_trident_reads(attributes: dict[str, Any]) -> int:
    """Level-0 px: round(patch_size * downsample), of 10 um/px at 1x for both resolutions."""
    ratio = (10 / attributes["target_magnification"]) / (10 / attributes["level0_magnification"])
    return round(attributes["patch_size"] * ratio)


@pytest.mark.parametrize("layout", ["level0", "target"])
@pytest.mark.parametrize("mpp", [0.25, 0.2527, 0.5])
def test_trident_reads_the_field_that_was_scored(layout: str, mpp: float, tmp_path: Path):
    source = make_source(mpp=Mpp(mpp, mpp))
    _, attributes = read(export(source, "hdf5", tmp_path / "t.h5", layout=layout))
    assert field_that_trident_reads(attributes) == round(200 / mpp)
    assert attributes["patch_size_level0"] == round(200 / mpp)


def test_the_layout_for_trident_has_the_models_tile_and_refuses_clam(tmp_path: Path):
    source = make_source(stride_px=25)
    _, attributes = read(export(source, "hdf5", tmp_path / "t.h5", layout="target"))
    assert (attributes["patch_size"], attributes["overlap"]) == (50, 25)
    assert attributes["target_magnification"] == 2.5
    assert "patch_level" not in attributes


def test_overlap_is_in_the_px_of_patch_size(tmp_path: Path):
    _, attributes = read(export(make_source(stride_px=20), "hdf5", tmp_path / "t.h5"))
    assert (attributes["patch_size"], attributes["overlap"]) == (800, 480)


def test_a_slide_without_objective_power_has_a_magnification_from_its_resolution(tmp_path: Path):
    info = make_info(Size(3200, 2400), Mpp(0.5, 0.5), power=None)
    source = make_source(mpp=Mpp(0.5, 0.5), slide=info)
    _, attributes = read(export(source, "hdf5", tmp_path / "t.h5"))
    assert attributes["level0_magnification"] == attributes["target_magnification"] == 20


def test_scores_and_exact_sizes_stand_beside_the_coords(tmp_path: Path):
    source = make_source(
        size0=Size(66, 33), mpp=Mpp(1.0, 0.5), tile_mpp=0.33, indices=[(0, 0), (0, 1)],
        prob=[[0.75, 0.25], [0.5, 0.5]],
    )  # fmt: skip
    with h5py.File(export(source, "hdf5", tmp_path / "t.h5")) as file:
        assert file["size0"][...].tolist() == [[17, 33], [16, 33]]
        assert file["prob"][...].tolist() == [[0.75, 0.25], [0.5, 0.5]]
        assert file["prob"].dtype == np.float32
        assert list(file["prob"].attrs["classes"]) == ["non_idc", "idc"]


def test_a_slide_without_tissue_has_empty_datasets(tmp_path: Path):
    source = make_source(indices=[], prob=[])
    with h5py.File(export(source, "hdf5", tmp_path / "t.h5")) as file:
        assert file["coords"].shape == (0, 2)
        assert file["prob"].shape == (0, 2)


def test_no_time_is_stored(tmp_path: Path):
    first = int(time.time())
    content = export(make_source(), "hdf5", tmp_path / "t.h5").read_bytes()
    # HDF5 keeps times as 4 bytes, seconds since 1970, little-endian
    assert not any(t.to_bytes(4, "little") in content for t in range(first, int(time.time()) + 1))


def test_an_unknown_layout_is_refused(tmp_path: Path):
    with pytest.raises(InvalidOption, match="level0, target"):
        export(make_source(), "hdf5", tmp_path / "t.h5", layout="clam")
