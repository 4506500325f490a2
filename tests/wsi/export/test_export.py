from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.wsi.export.sources import make_source, written
from wsi.errors import InvalidOption
from wsi.export import FRAMES, WRITERS, export, load_writer

FILES = {
    "ome-zarr": "heatmap.zarr",
    "ome-tiff": "heatmap.ome.tif",
    "csv": "tiles.csv",
    "hdf5": "tiles.h5",
    "geojson": "tiles.geojson.gz",
}


@pytest.mark.parametrize("format", WRITERS)
def test_every_format_has_a_writer_and_a_stated_frame(format: str):
    assert callable(load_writer(format))
    assert FRAMES[format]


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(
        InvalidOption, match="'xlsx' is unknown: use one of ome-zarr, ome-tiff, csv"
    ):
        export(make_source(), "xlsx", tmp_path / "t.xlsx")


def test_an_unknown_option_is_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(InvalidOption, match="hdf5 has no option 'colour': use layout"):
        export(make_source(), "hdf5", tmp_path / "t.h5", colour=1)
    with pytest.raises(InvalidOption, match="csv has no option 'colour': it has none"):
        export(make_source(), "csv", tmp_path / "t.csv", colour=1)


@pytest.mark.parametrize(("format", "name"), FILES.items())
def test_equal_sources_give_equal_bytes(format: str, name: str, tmp_path: Path):
    one = written(export(make_source(), format, tmp_path / "one" / name))
    two = written(export(make_source(), format, tmp_path / "two" / name))
    assert one == two
    other = make_source(indices=[(0, 0)])
    assert written(export(other, format, tmp_path / "three" / name)) != one


@pytest.mark.parametrize(("format", "name"), FILES.items())
def test_nothing_but_the_export_is_left(format: str, name: str, tmp_path: Path):
    export(make_source(), format, tmp_path / "new folder" / name)
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == [name]


@pytest.mark.parametrize(("format", "name"), [f for f in FILES.items() if f[0] != "ome-zarr"])
def test_a_writer_that_fails_leaves_what_was_there(format: str, name: str, tmp_path: Path):
    before = export(make_source(), format, tmp_path / name).read_bytes()
    broken = make_source()
    outside = np.array([[99, 99]], np.int32)  # no such tile
    heatmap = replace(broken.heatmap, values=np.zeros((0, 0, 0), np.float32))
    broken = replace(broken, indices=outside, heatmap=heatmap)
    with pytest.raises((IndexError, ValueError)):
        export(broken, format, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before
