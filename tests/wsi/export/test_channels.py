"""What a heatmap shows beside its classes, in every format that has a place for it."""

import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import tifffile

from tests.wsi.export.sources import make_source
from wsi.export import ExportSource, export, ome_zarr
from wsi.export.source import channels_by_tile
from wsi.heatmap import assemble

RAW = np.array([0.5, 0.125], np.float32)


def make_channel_source(stride_px: int = 50) -> ExportSource:
    """Two tiles with `raw` by tile, and `context` made on the cells: those of `raw`, halved."""
    source = make_source(
        indices=[(0, 1), (2, 3)], prob=[[0.75, 0.25], [0.125, 0.875]], stride_px=stride_px
    )
    heatmap = assemble(
        source.grid, source.indices, source.prob, classes=source.heatmap.classes,
        positive_class="idc", threshold=0.5, channels={"raw": RAW},
    )  # fmt: skip
    heatmap = heatmap.with_channels({"context": heatmap.channels["raw"] / 2})
    channels = channels_by_tile(heatmap, source.grid, source.indices, {"raw": RAW})
    return make_source(
        indices=[(0, 1), (2, 3)], prob=source.prob, stride_px=stride_px,
        heatmap=heatmap, channels=channels,
    )  # fmt: skip


def test_csv_has_a_column_a_channel_after_the_classes(tmp_path: Path) -> None:
    path = export(make_channel_source(), "csv", tmp_path / "tiles.csv")
    assert path.read_text() == (
        "minx,miny,width,height,prob_non_idc,prob_idc,raw,context\n"
        "800,0,800,800,0.75,0.25,0.5,0.25\n"
        "2400,1600,800,800,0.125,0.875,0.125,0.0625\n"
    )


def test_what_was_made_on_cells_has_no_number_for_tiles_that_overlap() -> None:
    source = make_channel_source(stride_px=25)
    assert list(source.heatmap.channels) == ["raw", "context"]
    assert list(source.channels) == ["raw"]


def test_geojson_measures_the_channels_of_each_tile(tmp_path: Path) -> None:
    path = export(make_channel_source(), "geojson", tmp_path / "t.geojson.gz", kind="tiles")
    features = json.loads(gzip.decompress(path.read_bytes()))["features"]
    assert [f["properties"]["measurements"] for f in features] == [
        {"prob_non_idc": 0.75, "prob_idc": 0.25, "raw": 0.5, "context": 0.25},
        {"prob_non_idc": 0.125, "prob_idc": 0.875, "raw": 0.125, "context": 0.0625},
    ]


def test_hdf5_has_a_data_set_a_channel(tmp_path: Path) -> None:
    with h5py.File(export(make_channel_source(), "hdf5", tmp_path / "t.h5")) as file:
        assert file["channels/raw"][:].tolist() == [0.5, 0.125]
        assert file["prob"].shape == (2, 2)


def test_ome_tiff_has_a_named_plane_a_channel(tmp_path: Path) -> None:
    source = make_channel_source()
    with tifffile.TiffFile(export(source, "ome-tiff", tmp_path / "t.ome.tiff")) as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        values = tiff.series[0].asarray()
    assert [c["Name"] for c in pixels["Channel"]] == ["non_idc", "idc", "raw", "context"]
    assert [len(pixels["Plane"]), values[2, 0, 1], values[3, 2, 3]] == [4, 0.5, 0.0625]


def test_ome_zarr_gives_the_heatmap_back_with_its_channels(tmp_path: Path) -> None:
    source = make_channel_source()
    back = ome_zarr.read(export(source, "ome-zarr", tmp_path / "heatmap.zarr"))
    np.testing.assert_array_equal(back.values, source.heatmap.values)
    assert list(back.channels) == ["raw", "context"]
    np.testing.assert_array_equal(back.channels["context"], source.heatmap.channels["context"])
