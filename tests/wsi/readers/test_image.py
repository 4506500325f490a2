"""Plain pictures: every pixel format to RGB, coarser levels by area means."""

import io
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.wsi.readers.tiffs import make_pixels, write_tiff
from wsi.errors import CorruptSlide, SlideTooLarge, UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide


def read_whole(path: Path, level: int = 0) -> np.ndarray:
    with open_slide(path) as slide:
        assert slide.info.reader == "image"
        return slide.read_level(level, Box(0, 0, *slide.info.levels[level].size))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_lossless_picture_comes_back(tmp_path: Path, suffix: str):
    pixels = make_pixels(31, 17)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_whole(tmp_path / f"a.{suffix}"), pixels)


def test_a_jpeg_is_what_pillow_decodes(tmp_path: Path):
    Image.fromarray(make_pixels(40, 30)).save(tmp_path / "a.jpg", quality=80)
    expected = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_whole(tmp_path / "a.jpg"), expected)


def test_a_bach_like_picture_has_levels_by_halves(tmp_path: Path):
    pixels = make_pixels(2048, 1536)
    write_tiff(tmp_path / "b.tif", pixels, tile=None)
    with open_slide(tmp_path / "b.tif", mpp=0.42) as slide:
        assert [level.size for level in slide.info.levels] == [(2048, 1536), (1024, 768)]
        assert slide.info.mpp == (0.42, 0.42)
    means = pixels.reshape(768, 2, 1024, 2, 3).astype(int).sum((1, 3))
    np.testing.assert_array_equal(read_whole(tmp_path / "b.tif", 1), (means + 2) // 4)


def test_an_odd_last_row_and_column_is_left_out_of_the_coarser_level(tmp_path: Path):
    pixels = make_pixels(2049, 11)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    half = read_whole(tmp_path / "a.png", 1)
    assert half.shape == (5, 1024, 3)
    means = pixels[:10, :2048].reshape(5, 2, 1024, 2, 3).astype(int).sum((1, 3))
    np.testing.assert_array_equal(half, (means + 2) // 4)


def test_a_picture_longer_than_32767_px_has_its_levels(tmp_path: Path):
    """A limit of 16-bit coordinates in many image libraries."""
    write_tiff(tmp_path / "a.tif", np.full((4, 40000, 3), 77, np.uint8), tile=None)
    assert read_whole(tmp_path / "a.tif", 1).shape == (2, 20000, 3)
    assert (read_whole(tmp_path / "a.tif", 2) == 77).all()


def test_grey_becomes_rgb(tmp_path: Path):
    grey = make_pixels(20, 10)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    write_tiff(tmp_path / "a.tif", grey, tile=None)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_whole(tmp_path / name), np.dstack([grey] * 3))


def test_white_is_zero_is_turned_round(tmp_path: Path):
    grey = np.array([[0, 255, 3]], np.uint8)
    write_tiff(tmp_path / "a.tif", grey, tile=None, photometric="miniswhite")
    assert read_whole(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 0, 252]


def test_transparent_is_white_and_half_transparent_half_white(tmp_path: Path):
    rgba = np.array([[[9, 9, 9, 0], [100, 0, 200, 128], [1, 2, 3, 255]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    write_tiff(tmp_path / "a.tif", rgba, tile=None, extrasamples=["unassalpha"])
    half = [round((c * 128 + 255 * 127) / 255) for c in (100, 0, 200)]
    for name in ("a.png", "a.tif"):
        assert read_whole(tmp_path / name)[0].tolist() == [[255] * 3, half, [1, 2, 3]]


def test_a_palette_picture_shows_its_colours(tmp_path: Path):
    Image.fromarray(make_pixels(9, 9)).quantize(4).save(tmp_path / "a.png")
    expected = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    np.testing.assert_array_equal(read_whole(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 3)])
def test_a_png_of_16_bits_is_scaled(tmp_path: Path, shape: tuple[int, ...]):
    samples = np.zeros(shape, np.uint16)
    samples[0, :2] = np.array([65535, 200 * 257 + 100]).reshape(2, *[1] * (len(shape) - 2))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(samples))
    assert read_whole(tmp_path / "a.png")[0].tolist() == [[255] * 3, [200] * 3, [0] * 3]


def test_planar_samples_are_put_together(tmp_path: Path):
    pixels = make_pixels(20, 10)
    planes = np.moveaxis(pixels, -1, 0)
    write_tiff(tmp_path / "a.tif", planes, tile=None, planarconfig="separate")
    np.testing.assert_array_equal(read_whole(tmp_path / "a.tif"), pixels)


def test_the_orientation_tag_is_ignored_with_a_warning(tmp_path: Path):
    pixels = make_pixels(20, 10)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    write_tiff(tmp_path / "a.tif", pixels, tile=None, extratags=[(274, 3, 1, 6, True)])
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_whole(tmp_path / name), pixels)
        with open_slide(tmp_path / name) as slide:
            assert "orientation tag (6) is ignored" in slide.info.warnings[-1]


def test_dots_per_inch_of_a_jpeg_are_no_resolution(tmp_path: Path):
    Image.fromarray(make_pixels(20, 10)).save(tmp_path / "a.jpg", dpi=(600, 600))
    with open_slide(tmp_path / "a.jpg") as slide:
        assert slide.info.mpp is None


def test_a_profile_is_kept(tmp_path: Path):
    Image.fromarray(make_pixels(20, 10)).save(tmp_path / "a.png", icc_profile=b"profile")
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.info.icc_profile == b"profile"


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_a_picture_cut_short_is_corrupt(tmp_path: Path, suffix: str):
    stream = io.BytesIO()
    Image.fromarray(make_pixels(200, 100)).save(stream, {"jpg": "jpeg"}.get(suffix, suffix))
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(CorruptSlide, match="copy it again"), open_slide(path) as slide:
        slide.read_level(0, Box(0, 0, 200, 100))


def write_png_header(path: Path, side: int) -> None:
    """All that is read before pixels are: the sizes, and the start of the pixels."""
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + b"\x08\2\0\0\0"
    checksum = zlib.crc32(header).to_bytes(4, "big")
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + checksum + b"\0\0\0\0IDAT")


def test_a_picture_of_more_than_400_megapixels_is_refused_by_its_header(tmp_path: Path):
    write_png_header(tmp_path / "a.png", 30000)
    with pytest.raises(SlideTooLarge, match="400 megapixels"):
        open_slide(tmp_path / "a.png")


def test_a_picture_of_more_pixels_than_pillow_allows_by_itself_is_opened(tmp_path: Path):
    """Its own limits warn at 89 megapixels and refuse at 179; ours refuses at 400."""
    write_png_header(tmp_path / "a.png", 19000)
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.info.size == (19000, 19000)


def test_a_tiled_tiff_can_be_read_as_a_picture_on_request(tmp_path: Path):
    pixels = make_pixels(150, 100)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb", metadata=None)
    with open_slide(tmp_path / "a.tif", reader="image") as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 150, 100)), pixels)


@pytest.mark.real_data
def test_the_picture_reader_refuses_dicom(real_data: Path):
    with pytest.raises(UnsupportedSlide, match="neither PNG"):
        open_slide(real_data / "slides" / "bone-raw.dcm", reader="image")
