"""The reader process reads what open_slide reads, and says what it says."""

from pathlib import Path

import numpy as np
import pytest

from service.sandbox import open_in_sandbox
from service.worker.opener import NamelessSlide
from tests.service.sandbox.readers import (
    HERE,
    shared_bytes,
)
from tests.wsi.readers.reader_contract import OpenSlide, ReaderContract
from tests.wsi.readers.tiffs import write_pyramid
from wsi.errors import CorruptSlide, InvalidOption, SlideNotFound, UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.base import read_shrunk


class TestSandboxed(ReaderContract):
    @pytest.fixture(params=["openslide", "tiffslide"])
    def open_it(self, tiff: Path, request: pytest.FixtureRequest) -> OpenSlide:
        return lambda: open_in_sandbox(tiff, reader=request.param)


@pytest.mark.real_data
class TestSandboxedReal(ReaderContract):
    @pytest.fixture(params=["CMU-1-Small-Region.svs", "bone-jpeg.dcm", "kidney-untiled-no-mpp.tif"])
    def open_it(self, real_data: Path, request: pytest.FixtureRequest) -> OpenSlide:
        return lambda: open_in_sandbox(real_data / "slides" / request.param)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "apply_icc"),
    [
        ("CMU-1-Small-Region.svs", False),
        ("tcga-cr-7395-jp2k-no-mpp.svs", True),
        ("tcga-cr-7395-jp2k-no-mpp.svs", False),
        ("camelyon-multiframe.dcm", False),
        ("boxes_0.dcm", False),
        ("highdicom-sm-image.dcm", False),
        ("yb10kx5k.zstd.tiff", False),
        ("orientation-3.tif", False),
        ("kidney-untiled-no-mpp.tif", False),
    ],
)
def test_real_slides_say_and_show_the_same_in_the_sandbox(
    real_data: Path, name: str, apply_icc: bool
):
    path = real_data / "slides" / name
    with (
        open_slide(path, apply_icc=apply_icc) as direct,
        open_in_sandbox(path, apply_icc=apply_icc) as boxed,
    ):
        assert boxed.info == direct.info
        for n, level in enumerate(direct.info.levels):
            box = Box(level.size.width // 3, level.size.height // 3, 600, 500)
            np.testing.assert_array_equal(boxed.read_level(n, box), direct.read_level(n, box))


def test_a_read_larger_than_one_answer_is_put_together(tiff: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("service.sandbox.slide.MAX_READ_BYTES", 100 * 100 * 3)
    monkeypatch.setattr("service.sandbox.slide.PART_PX", 64)
    with open_slide(tiff) as direct, open_in_sandbox(tiff) as boxed:
        box = Box(-5, 10, 300, 250)
        np.testing.assert_array_equal(boxed.read_level(0, box), direct.read_level(0, box))


@pytest.mark.parametrize(("box", "cell"), [
    (Box(0, 0, 256, 192), 4),  # whole native tiles
    (Box(31, 7, 60, 100), 4),  # cells that lie in two of them
    (Box(13, 1, 390, 300), 3),
    (Box(0, 0, 403, 301), 1),
])  # fmt: skip
@pytest.mark.parametrize("wrapped", [False, True], ids=["sandboxed", "nameless"])
@pytest.mark.parametrize("reader", ["tiff", "openslide"])
def test_a_box_is_shrunk_to_the_same_means_in_the_sandbox(
    tiff: Path, monkeypatch: pytest.MonkeyPatch, box: Box, cell: int, wrapped: bool, reader: str
):
    monkeypatch.setattr("service.sandbox.slide.PART_PX", 128)
    shape = (box.height // cell + 2, box.width // cell, 3)
    expected, sheet = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    with open_slide(tiff, reader=reader) as direct:
        read_shrunk(direct, 0, box, expected[1:-1])
    for most_bytes in (100 * 100 * 3, 128 << 20):  # in parts, and at once
        monkeypatch.setattr("service.sandbox.slide.MAX_READ_BYTES", most_bytes)
        with open_in_sandbox(tiff, reader=reader) as boxed:
            slide = NamelessSlide(boxed, "neutral") if wrapped else boxed
            read_shrunk(slide, 0, box, sheet[1:-1])
        np.testing.assert_array_equal(sheet, expected)
    assert expected.any()


@pytest.mark.parametrize("wrapped", [False, True], ids=["sandboxed", "nameless"])
def test_only_the_means_come_out_of_the_sandbox(tmp_path: Path, wrapped: bool):
    write_pyramid(tmp_path / "a.tiff", [(1024, 1024)])
    with open_in_sandbox(tmp_path / "a.tiff", reader="tiff") as boxed:
        slide = NamelessSlide(boxed, "neutral") if wrapped else boxed
        read_shrunk(slide, 0, Box(0, 0, 1024, 1024), np.empty((64, 64, 3), np.uint8))
        assert shared_bytes() == 256 << 10  # the least; the pixels would be 3 MiB


def test_what_is_not_inside_the_level_is_not_shrunk_in_the_sandbox(tiff: Path):
    out = np.empty((8, 8, 3), np.uint8)
    with (
        open_in_sandbox(tiff) as boxed,
        pytest.raises(InvalidOption, match="not inside level 0"),
    ):
        read_shrunk(boxed, 0, Box(400, 0, 16, 16), out)


def test_a_relative_path_is_read_and_named_as_it_was_given(
    tiff: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tiff.parent)
    with open_slide("a.tiff") as direct, open_in_sandbox("a.tiff") as boxed:
        assert boxed.info == direct.info
        np.testing.assert_array_equal(boxed.read_level(1, HERE), direct.read_level(1, HERE))


def test_a_link_to_a_slide_elsewhere_is_followed(tiff: Path, tmp_path: Path):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "b.tiff"
    link.symlink_to(tiff)
    with open_in_sandbox(link) as boxed:
        assert boxed.info.files == (link,)
        assert boxed.read_level(0, HERE).shape == (10, 10, 3)


@pytest.mark.parametrize("path", ["/no/such.svs", "/etc/passwd/a.svs", "a\0b.svs", "x" * 300])
def test_a_path_without_a_file_is_said_as_ever(path: str):
    with pytest.raises(SlideNotFound) as direct:
        open_slide(path)
    with pytest.raises(SlideNotFound) as boxed:
        open_in_sandbox(path)
    assert str(boxed.value) == str(direct.value).replace("\0", " ")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["not-a-tiff.svs", "zero-height.tif", "fluorescence.czi", "dicom-label-only.dcm"]
)
def test_errors_of_opening_come_as_they_are(real_data: Path, name: str):
    path = real_data / "malformed" / name
    with pytest.raises((UnsupportedSlide, CorruptSlide)) as direct:
        open_slide(path)
    with pytest.raises(type(direct.value)) as boxed:
        open_in_sandbox(path)
    assert str(boxed.value) == str(direct.value)


@pytest.mark.real_data
def test_an_error_of_reading_comes_as_it_is_and_is_no_crash(real_data: Path):
    path = real_data / "malformed" / "unreadable.svs"
    with open_slide(path) as direct, open_in_sandbox(path) as boxed:
        with pytest.raises(CorruptSlide) as expected:
            direct.read_level(0, HERE)
        with pytest.raises(CorruptSlide) as caught:
            boxed.read_level(0, HERE)
        assert str(caught.value) == str(expected.value)
        assert boxed.failure is None


def test_wrong_options_are_refused_as_ever(tiff: Path):
    with pytest.raises(InvalidOption, match="'bio' is unknown"):
        open_in_sandbox(tiff, reader="bio")
    with pytest.raises(InvalidOption, match="800"):
        open_in_sandbox(tiff, mpp=800)
    with pytest.raises(UnsupportedSlide, match="no network"):
        open_in_sandbox("https://host/a.svs")


def test_the_callers_resolution_counts(tiff: Path):
    with open_in_sandbox(tiff, mpp=(0.25, 0.3)) as boxed:
        assert boxed.info.mpp == (0.25, 0.3)
        assert boxed.info.mpp_source == "caller"
