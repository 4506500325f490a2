"""tiffslide: tiles that are not there, false colours refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.wsi.readers.tiffs import make_pixels, write_tiff
from wsi.errors import CorruptSlide, UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide


def test_tiles_that_were_not_scanned_are_background(tmp_path: Path):
    """Sparse TIFFs list them with a length of 0; decoders then give black."""
    path = tmp_path / "a.tiff"
    pixels = make_pixels(192, 128)
    tiles = [pixels[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
    stored = [tile.tobytes() for tile in tiles]
    stored[1] = stored[5] = b""
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "tile": (64, 64), "metadata": None, "compression": 8}
        import zlib

        file.write(
            (zlib.compress(data) if data else data for data in stored),
            shape=pixels.shape,
            dtype=np.uint8,
            **options,
        )
    expected = pixels.copy()
    expected[:64, 64:128] = 255
    expected[64:, 128:] = 255
    with open_slide(path, reader="tiffslide") as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 192, 128)), expected)
        part = slide.read_level(0, Box(60, 60, 80, 10))
        np.testing.assert_array_equal(part, expected[60:70, 60:140])


def test_ycbcr_jpeg2000_tiles_are_refused_rather_than_shown_in_false_colours(tmp_path: Path):
    from tests.wsi.readers.test_gate import CODEC, patch_tag

    path = write_tiff(tmp_path / "a.tif", make_pixels(64, 64))
    patch_tag(path, CODEC, 33003)
    with pytest.raises(UnsupportedSlide, match="false colours"):
        open_slide(path, reader="tiffslide")


def test_a_tile_that_cannot_be_decoded_is_corrupt(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", make_pixels(200, 200), compression="zlib")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        start, length = page.dataoffsets[5], page.databytecounts[5]
    data = bytearray(path.read_bytes())
    data[start : start + length] = b"\xaa" * length
    path.write_bytes(data)
    with open_slide(path, reader="tiffslide") as slide:
        slide.read_level(0, Box(0, 0, 64, 64))
        with pytest.raises(CorruptSlide, match="level 0, x 70, y 70"):
            slide.read_level(0, Box(70, 70, 10, 10))


@pytest.mark.real_data
def test_the_untiled_kidney_is_read_by_request(real_data: Path):
    path = real_data / "slides" / "kidney-untiled-no-mpp.tif"
    raw = tifffile.imread(path)
    with open_slide(path, reader="tiffslide") as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 1493, 901)), raw)
        part = slide.read_level(0, Box(1480, 890, 20, 20))
        np.testing.assert_array_equal(part[:11, :13], raw[890:, 1480:])
        assert (part[11:] == 255).all()


@pytest.mark.real_data
def test_tiffslide_says_that_it_reads_no_dicom(real_data: Path):
    with pytest.raises(UnsupportedSlide, match="no TIFF"):
        open_slide(real_data / "slides" / "bone-raw.dcm", reader="tiffslide")


def test_a_tiff_that_tiffslide_refuses_is_closed_again(tmp_path: Path):
    path = write_tiff(
        tmp_path / "a.tiff",
        make_pixels(128, 128),
        description='Leica<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"></scn>',
    )
    with pytest.raises(UnsupportedSlide, match="tiffslide does not show this TIFF") as caught:
        open_slide(path, mpp=0.5, reader="tiffslide")
    assert caught.value.__cause__ is not None  # its frames would keep the file open
    open_files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert path not in open_files
