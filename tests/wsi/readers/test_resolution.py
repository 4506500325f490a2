"""Which resolution counts, and what is said where none does."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.wsi.readers.tiffs import make_pixels, write_tiff
from wsi.geometry import Mpp
from wsi.readers import open_slide
from wsi.readers.resolution import Stated, mpp_from_caller, resolve
from wsi.slide import SlideInfo


def stated(mpp: float, source: str = "file", *, is_tag: bool = False) -> Stated:
    return Stated(source, Mpp(mpp, mpp), is_tag)


def info_of(path: Path, reader: str = "auto", mpp: float | None = None) -> SlideInfo:
    with open_slide(path, mpp=mpp, reader=reader) as slide:
        return slide.info


def test_the_first_believable_statement_counts():
    found = resolve([stated(0.25, "vendor"), stated(0.26, "tag")], None, None)
    assert (found.mpp, found.source, found.warnings) == ((0.25, 0.25), "vendor", ())


def test_a_default_is_passed_over_for_a_measurement():
    found = resolve([stated(352.78, is_tag=True), stated(0.5, "other")], None, None)
    assert (found.mpp, found.source, found.warnings) == ((0.5, 0.5), "other", ())


@pytest.mark.parametrize(
    ("mpp", "dpi"), [(352.778, 72), (264.583, 96), (84.6667, 300), (254.0, 100)]
)
def test_a_programs_default_is_named_by_its_dpi(mpp: float, dpi: int):
    found = resolve([stated(mpp, is_tag=True)], None, None)
    assert found.mpp is None
    assert f"which is {dpi} dpi, a program's default" in found.warnings[0]
    assert "resolution" in found.warnings[0]


@pytest.mark.parametrize("mpp", [0.0, -1.0, 0.049, 1000.0, float("inf"), float("nan")])
def test_what_no_microscope_does_is_no_measurement(mpp: float):
    found = resolve([stated(mpp)], None, None)
    assert found.mpp is None
    assert "resolution (file)" in found.warnings[0]
    assert "0.05 to 60" in found.warnings[0]


def test_600_dpi_is_used_with_a_warning():
    found = resolve([stated(25400 / 600, "tag", is_tag=True)], None, None)
    assert found.mpp is not None
    assert "600 dpi" in found.warnings[0]
    assert resolve([stated(25400 / 600, "vendor")], None, None).warnings == ()


def test_the_caller_counts_more_than_the_file():
    found = resolve([stated(0.5)], Mpp(0.51, 0.51), None)
    assert (found.mpp, found.source, found.warnings) == ((0.51, 0.51), "caller", ())


def test_a_caller_who_contradicts_the_file_is_told_so():
    found = resolve([stated(0.5, "aperio.MPP")], Mpp(0.25, 0.25), None)
    assert found.mpp == (0.25, 0.25)
    assert "0.25 um/px, is used; the file states 0.5 um/px (aperio.MPP)" in found.warnings[0]


def test_a_caller_need_not_contradict_a_default():
    assert resolve([stated(352.78, is_tag=True)], Mpp(0.5, 0.5), None).warnings == ()


def test_two_statements_that_differ_are_both_told():
    found = resolve([stated(0.5, "one"), stated(0.25, "two")], None, None)
    assert found.mpp == (0.5, 0.5)
    assert "twice: 0.5 um/px (one), which is used, and 0.25 um/px (two)" in found.warnings[0]


@pytest.mark.parametrize(("mpp", "power"), [(0.5, 20), (0.46, 20), (0.23, 40), (0.25, 40), (1, 10)])
def test_an_objective_that_fits_is_no_news(mpp: float, power: float):
    assert resolve([stated(mpp)], None, power).warnings == ()


@pytest.mark.parametrize(("mpp", "power"), [(0.25, 20), (0.5, 40), (4.0, 40)])
def test_an_objective_that_contradicts_the_resolution_is_told(mpp: float, power: float):
    (warning,) = resolve([stated(mpp)], None, power).warnings
    assert f"{power}x goes with about {10 / power:.3g} um/px" in warning


def test_an_objective_alone_is_a_hint_and_no_resolution():
    found = resolve([], None, 20)
    assert found.mpp is None
    assert "20x often means a resolution of 0.5 um/px" in found.warnings[0]


def test_the_callers_resolution_may_differ_by_axis():
    assert mpp_from_caller((0.5, 0.25)) == Mpp(0.5, 0.25)
    assert mpp_from_caller(1) == Mpp(1.0, 1.0)
    assert mpp_from_caller(None) is None


@pytest.mark.parametrize("reader", ["openslide", "tiffslide", "image"])
@pytest.mark.parametrize(("unit", "per_um"), [("centimeter", 1e4), ("inch", 25400)])
def test_tiff_tags_give_the_resolution_by_axis(
    tmp_path: Path, reader: str, unit: str, per_um: float
):
    options = {"resolution": (per_um / 0.5, per_um / 0.25), "resolutionunit": unit}
    write_tiff(tmp_path / "a.tif", make_pixels(100, 70), **options)
    info = info_of(tmp_path / "a.tif", reader)
    assert info.mpp == pytest.approx((0.5, 0.25), rel=1e-5)
    assert info.mpp_source == "tiff.XResolution"


@pytest.mark.parametrize("reader", ["openslide", "tiffslide", "image"])
def test_ome_metadata_gives_the_resolution_in_its_unit(tmp_path: Path, reader: str):
    metadata = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": 0.0005, "PhysicalSizeYUnit": "mm"}
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": metadata}
    tifffile.imwrite(tmp_path / "a.ome.tif", make_pixels(100, 70), ome=True, **options)
    info = info_of(tmp_path / "a.ome.tif", reader)
    assert (info.mpp, info.mpp_source) == ((0.25, 0.5), "ome.PhysicalSizeX")


def test_imagejs_unit_gives_the_resolution(tmp_path: Path):
    options = {"imagej": True, "resolution": (2, 4), "metadata": {"unit": "um", "axes": "YXS"}}
    tifffile.imwrite(tmp_path / "a.tif", make_pixels(30, 20), photometric="rgb", **options)
    info = info_of(tmp_path / "a.tif")
    assert (info.mpp, info.mpp_source) == ((0.5, 0.25), "imagej.unit")


def test_tags_without_a_unit_are_no_resolution(tmp_path: Path):
    write_tiff(tmp_path / "a.tif", make_pixels(30, 20), resolution=(2, 2), resolutionunit="none")
    assert info_of(tmp_path / "a.tif").mpp is None


@pytest.mark.real_data
def test_a_real_svs_says_where_its_resolution_comes_from(real_data: Path):
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    for reader in ("openslide", "tiffslide"):
        info = info_of(path, reader)
        assert info.mpp == (0.499, 0.499)
        assert info.mpp_source == f"{reader}.mpp-x"
        assert (info.objective_power, info.warnings) == (20, ())


@pytest.mark.real_data
def test_a_wrong_resolution_for_a_real_svs_is_used_and_told_twice(real_data: Path):
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    info = info_of(path, mpp=0.25)
    assert (info.mpp, info.mpp_source) == ((0.25, 0.25), "caller")
    assert len(info.warnings) == 2  # against the file's value, and against its objective


@pytest.mark.real_data
def test_dicom_states_it_by_axis(real_data: Path):
    info = info_of(real_data / "slides" / "camelyon-multiframe.dcm")
    assert np.allclose(info.mpp or 0, (28.969, 28.968))
