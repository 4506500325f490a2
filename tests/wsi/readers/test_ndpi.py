"""Hamamatsu's NDPI, as far as a file that we lay out ourselves can show it."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.wsi.readers.ndpi import write_ndpi
from tests.wsi.readers.reader_contract import OpenSlide, ReaderContract
from wsi.geometry import Box, Mpp, Size
from wsi.overview import pick_level, read_overview
from wsi.readers import open_slide


def make_levels() -> list[NDArray[np.uint8]]:
    """1024 x 768 px, then a quarter of each side; smooth, as JPEG likes it."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    finest = np.asarray(Image.fromarray(coarse).resize((1024, 768), Image.Resampling.BICUBIC))
    means = finest.reshape(192, 4, 256, 4, 3).mean((1, 3))
    return [finest, (means + 0.5).astype(np.uint8)]


class TestNdpi(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        write_ndpi(tmp_path / "a.ndpi", make_levels())
        return lambda: open_slide(tmp_path / "a.ndpi")


def test_it_goes_to_openslide_and_says_why(tmp_path: Path):
    write_ndpi(tmp_path / "a.ndpi", make_levels())
    with open_slide(tmp_path / "a.ndpi") as slide:
        assert (slide.info.reader, slide.info.vendor) == ("openslide", "hamamatsu")
        assert "restart markers" in slide.info.why
        assert (slide.info.mpp, slide.info.objective_power) == (Mpp(0.5, 0.5), 20.0)


def test_the_pixels_are_those_of_the_stored_jpegs(tmp_path: Path):
    jpegs = write_ndpi(tmp_path / "a.ndpi", make_levels())
    with open_slide(tmp_path / "a.ndpi") as slide:
        for level, jpeg in enumerate(jpegs):
            box = Box(13, 37, 200, 101)
            expected = np.asarray(Image.open(io.BytesIO(jpeg)))[37:138, 13:213]
            np.testing.assert_array_equal(slide.read_level(level, box), expected)


def test_levels_that_openslide_decodes_smaller_are_none_of_the_slide(tmp_path: Path):
    jpegs = write_ndpi(tmp_path / "a.ndpi", make_levels())
    with open_slide(tmp_path / "a.ndpi") as slide:
        assert [level.size for level in slide.info.levels] == [Size(1024, 768), Size(256, 192)]
        assert pick_level(slide.info, Mpp(0.5, 0.5), 1.0) == 0  # OpenSlide has one of 1 um/px
        rgb = read_overview(slide, 1.0).rgb
    whole = np.asarray(Image.open(io.BytesIO(jpegs[0]))).astype(float)
    means = whole.reshape(384, 2, 512, 2, 3).mean((1, 3))
    assert np.abs(rgb - means).max() <= 0.5
