"""OpenSlide's pixels, exactly: no interpolation between a level's pixels, alpha over background."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from wsi.errors import CorruptSlide
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.openslide import _background, _rgb_over


def test_pixels_of_a_level_with_a_cut_last_pixel_are_not_interpolated(tmp_path: Path):
    """403 -> 201 reads as a factor of 2.005 in OpenSlide, which then blends neighbours."""
    levels = write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
    with open_slide(tmp_path / "a.tiff", reader="openslide") as slide:
        assert [level.downsample.x for level in slide.info.levels] == [1.0, 2.0, 4.0]
        for n, pixels in enumerate(levels):
            height, width = pixels.shape[:2]
            np.testing.assert_array_equal(slide.read_level(n, Box(0, 0, width, height)), pixels)
            part = slide.read_level(n, Box(37, 41, 50, 30))
            np.testing.assert_array_equal(part, pixels[41:71, 37:87])


@pytest.mark.real_data
def test_level_1_of_a_real_svs_equals_its_raw_tiles(real_data: Path):
    path = real_data / "slides" / "tcga-cr-7395-jp2k-no-mpp.svs"
    raw = tifffile.imread(path, key=2)
    assert raw.shape == (1783, 2221, 3)
    with open_slide(path, reader="openslide") as slide:
        assert slide.info.levels[1].downsample == (2.0, 2.0)
        for x, y in ((0, 0), (1000, 800), (1871, 1433), (777, 1234)):
            part = slide.read_level(1, Box(x, y, 350, 350))
            np.testing.assert_array_equal(part, raw[y : y + 350, x : x + 350])


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bone-raw.dcm", "CMU-1-Small-Region.svs"])
def test_level_0_equals_an_independent_decoder(real_data: Path, name: str):
    path = real_data / "slides" / name
    if path.suffix == ".dcm":
        frame = raw_dicom_frame(path, 1)
        box = Box(256, 0, 256, 256)
    else:
        frame = tifffile.imread(path, key=0)[240:480, 480:720]
        box = Box(480, 240, 240, 240)
    with open_slide(path, reader="openslide") as slide:
        np.testing.assert_array_equal(slide.read_level(0, box), frame)


def raw_dicom_frame(path: Path, index: int) -> np.ndarray:
    import pydicom

    data = pydicom.dcmread(path)
    size = 256 * 256 * 3
    frame = np.frombuffer(data.PixelData, np.uint8, size, index * size)
    return frame.reshape(256, 256, 3)


def test_a_read_larger_than_openslides_own_blocks_is_seamless(tmp_path: Path):
    pixels = np.tile(make_pixels(512, 64), (1, 9, 1))
    write_tiff(tmp_path / "a.tiff", pixels)
    with open_slide(tmp_path / "a.tiff", reader="openslide") as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 4608, 64)), pixels)


def test_alpha_is_laid_over_the_background_to_the_nearest_level():
    """All pairs of premultiplied colour and alpha, as OpenSlide has them, against fractions."""
    pairs = [(colour, alpha) for alpha in range(1, 256) for colour in range(alpha + 1)]
    # openslide-python divides by alpha and cuts
    rgba = np.array([[255 * c // a] * 3 + [a] for c, a in pairs] + [[0, 0, 0, 0]], np.uint8)
    image = Image.fromarray(rgba[None])
    for background in (255, 17, 0):
        expected = [int(c + (255 - a) * background / 255 + 0.5) for c, a in pairs] + [background]
        rgb = _rgb_over(image, (background,) * 3)
        assert rgb[0, :, 0].tolist() == expected
        assert rgb[0, :, 2].tolist() == expected


def test_background_comes_from_openslides_properties():
    assert _background({"openslide.background-color": "FFFCF0"}) == (255, 252, 240)
    assert _background({}) == (255, 255, 255)


@pytest.mark.real_data
def test_after_a_tile_that_cannot_be_decoded_every_read_says_so(real_data: Path):
    path = real_data / "malformed" / "unreadable.svs"
    with open_slide(path, reader="openslide") as slide:
        assert slide.info.size == (16, 16)
        for _ in range(2):  # OpenSlide refuses all reads after its first error
            with pytest.raises(CorruptSlide, match=r"unreadable\.svs.*Bogus marker length"):
                slide.read_level(0, Box(0, 0, 4, 4))


@pytest.mark.real_data
def test_a_slide_may_be_opened_and_closed_again_after_an_error(real_data: Path):
    for _ in range(3):
        with (
            open_slide(real_data / "malformed" / "unreadable.svs", reader="openslide") as broken,
            pytest.raises(CorruptSlide),
        ):
            broken.read_level(0, Box(0, 0, 4, 4))
        with open_slide(real_data / "slides" / "small.svs", reader="openslide") as slide:
            assert slide.read_level(0, Box(0, 0, 4, 4)).shape == (4, 4, 3)
