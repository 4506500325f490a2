from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from defusedxml import ElementTree
from PIL import Image

from tests.wsi.export.sources import make_source
from wsi.export import ExportSource, export
from wsi.geometry import Box, Mpp, Size
from wsi.heatmap import pyramid

NAMES = {"o": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}


def make_wide_source(**options: Any) -> ExportSource:
    """600 columns of cells, 3 rows: three levels; column 7 is not scored."""
    indices = [(r, c) for r in range(3) for c in range(600) if c != 7]
    return make_source(size0=Size(600 * 800, 3 * 800), indices=indices, **options)


def read_metadata(path: Path) -> Any:
    with tifffile.TiffFile(path) as file:
        assert file.ome_metadata is not None
        return ElementTree.fromstring(file.ome_metadata)


def test_the_pyramid_comes_back_with_its_gaps(tmp_path: Path):
    source = make_wide_source()
    with tifffile.TiffFile(export(source, "ome-tiff", tmp_path / "t.ome.tif")) as file:
        (series,) = file.series
        assert series.axes == "CYX"
        assert [level.shape for level in series.levels] == [(2, 3, 600), (2, 2, 300), (2, 1, 150)]
        for level, expected in zip(series.levels, pyramid(source.heatmap.values), strict=True):
            assert np.array_equal(level.asarray(), expected, equal_nan=True)
        base = series.levels[0].asarray()
    assert base.dtype == np.float32
    assert np.isnan(base[:, :, 7]).all()
    assert np.isfinite(np.delete(base, 7, axis=2)).all()


def test_another_library_reads_each_channel(tmp_path: Path):
    source = make_wide_source()
    with Image.open(export(source, "ome-tiff", tmp_path / "t.ome.tif")) as image:
        for channel, expected in enumerate(source.heatmap.values):
            image.seek(channel)
            assert image.mode == "F"
            assert np.array_equal(np.asarray(image), expected, equal_nan=True)


def test_smaller_levels_are_sub_ifds_of_each_channel_tiled_and_deflated_as_bio_formats_reads(
    tmp_path: Path,
):
    with tifffile.TiffFile(export(make_wide_source(), "ome-tiff", tmp_path / "t.tif")) as file:
        assert len(file.pages) == 2  # one a class
        for page in file.pages:
            assert len(page.subifds) == 2
            assert [sub.is_reduced for sub in page.pages] == [True, True]
            for part in (page, *page.pages):
                assert part.is_tiled
                assert part.tile == (256, 256)
                assert part.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
                assert part.predictor == tifffile.PREDICTOR.NONE
                assert part.sampleformat == tifffile.SAMPLEFORMAT.IEEEFP


def test_size_position_and_channels_are_in_the_metadata(tmp_path: Path):
    source = make_source(mpp=Mpp(0.25, 0.5), bounds=Box(1000, 500, 1600, 1600))
    root = read_metadata(export(source, "ome-tiff", tmp_path / "t.ome.tif"))
    pixels = root.find(".//o:Pixels", NAMES)
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit")) == ("200.0", "µm")
    assert (pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeYUnit")) == ("200.0", "µm")
    assert [c.get("Name") for c in pixels.findall("o:Channel", NAMES)] == ["non_idc", "idc"]
    for plane in pixels.findall("o:Plane", NAMES):
        # half a cell of 200 um beyond 1000 px of 0.25 um, and 500 px of 0.5 um
        assert (plane.get("PositionX"), plane.get("PositionXUnit")) == ("350.0", "µm")
        assert (plane.get("PositionY"), plane.get("PositionYUnit")) == ("350.0", "µm")
    kept = {m.get("K"): m.text for m in root.iter(f"{{{NAMES['o']}}}M")}
    assert kept["bounds0"] == "1000 500 1600 1600"
    assert kept["threshold"] == "0.5"


def test_the_resolution_tags_say_how_large_a_cell_is_at_each_level(tmp_path: Path):
    with tifffile.TiffFile(export(make_wide_source(), "ome-tiff", tmp_path / "t.tif")) as file:
        parts = (file.pages[0], *file.pages[0].pages)
        for part, cell_um in zip(parts, (200, 400, 800), strict=True):
            assert part.resolutionunit == tifffile.RESUNIT.CENTIMETER
            assert part.resolution == pytest.approx((1e4 / cell_um, 1e4 / cell_um))


def test_the_metadata_keep_to_the_ome_schema(tmp_path: Path):
    ome_types = pytest.importorskip("ome_types", reason="holds the OME schema")
    pytest.importorskip("lxml", reason="validates by a schema")
    schema = Path(ome_types.__file__).with_name("ome-2016-06.xsd").read_bytes()
    source = make_wide_source(model='a <b> & "c"')
    with tifffile.TiffFile(export(source, "ome-tiff", tmp_path / "t.ome.tif")) as file:
        assert tifffile.OmeXml.validate(file.ome_metadata, schema) is True
        broken = file.ome_metadata.replace('SizeX="600"', 'SizeX="many"')
    assert tifffile.OmeXml.validate(broken, schema, assert_=False) is False


def test_no_time_and_no_random_id_is_stored_but_other_scores_have_another_id(tmp_path: Path):
    one = export(make_source(), "ome-tiff", tmp_path / "one.ome.tif")
    other = export(make_source(indices=[(0, 0)]), "ome-tiff", tmp_path / "other.ome.tif")
    with tifffile.TiffFile(one) as file:
        assert "DateTime" not in file.pages[0].tags
    assert read_metadata(one).get("UUID") != read_metadata(other).get("UUID")


def test_a_slide_without_tissue_is_all_gaps(tmp_path: Path):
    path = export(make_source(indices=[], prob=[]), "ome-tiff", tmp_path / "t.ome.tif")
    assert np.isnan(tifffile.imread(path)).all()
