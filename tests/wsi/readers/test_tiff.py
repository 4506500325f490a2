"""The native TIFF reader against decoders that share no code with it: OpenSlide and tifffile."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from tests.wsi.readers.native_tiffs import (
    WHOLE,
    boxes_over,
    over_white,
    worst_difference,
    write_jpeg2000_svs,
    write_jpeg_tiff,
    write_sparse,
    write_sparse_level,
)
from tests.wsi.readers.reader_contract import OpenSlide, ReaderContract
from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from wsi.errors import UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.tiff import NotTiled
from wsi.readers.tiffdecode import BlockDecoder

SLIDES = [
    "CMU-1-Small-Region.svs",
    "tcga-cr-7395-jp2k-no-mpp.svs",
    "boxes.tiff",
    "small.svs",
    "yb10kx5k.zstd.tiff",
    *(f"orientation-{i}.tif" for i in range(9)),
]
JPEG_TOLERANCE = 2


class TestTiff(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
        return lambda: open_slide(tmp_path / "a.tiff", reader="tiff")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "tcga-cr-7395-jp2k-no-mpp.svs"])
class TestRealSlides(ReaderContract):
    @pytest.fixture
    def open_it(self, real_data: Path, name: str) -> OpenSlide:
        return lambda: open_slide(real_data / "slides" / name, reader="tiff")


@pytest.mark.real_data
@pytest.mark.parametrize("name", SLIDES)
def test_it_says_of_a_real_slide_what_openslides_reader_says(real_data: Path, name: str):
    path = real_data / "slides" / name
    with open_slide(path, reader="openslide") as known, open_slide(path, reader="tiff") as slide:
        assert replace(slide.info, reader="openslide") == known.info


@pytest.mark.real_data
@pytest.mark.parametrize("name", SLIDES)
def test_level_0_of_a_real_slide_has_openslides_own_pixels(real_data: Path, name: str):
    """By openslide-python, past our reader. It ignores the orientation tag only where that is 1."""
    path = real_data / "slides" / name
    if name.startswith("orientation") and name not in ("orientation-0.tif", "orientation-1.tif"):
        return  # libtiff turns each tile; test_real_levels_have_tifffiles_pixels looks at them
    worst = 0
    with openslide.OpenSlide(path) as known, open_slide(path, reader="tiff") as slide:
        for box in boxes_over(*slide.info.size):
            expected = known.read_region((box.x, box.y), 0, (box.width, box.height))
            worst = max(worst, worst_difference(slide.read_level(0, box), over_white(expected)))
    print(f"{name}: worst difference from OpenSlide {worst}")
    assert worst <= JPEG_TOLERANCE


@pytest.mark.real_data
@pytest.mark.parametrize("name", SLIDES)
def test_real_levels_have_tifffiles_pixels(real_data: Path, name: str):
    path = real_data / "slides" / name
    worst = 0
    with tifffile.TiffFile(path) as file, open_slide(path, reader="tiff") as slide:
        for n, level in enumerate(slide.info.levels):
            if max(level.size) > 3000:  # level 0 of these is compared with OpenSlide's
                continue
            page = next(p for p in file.pages if p.is_tiled and p.shape[1::-1] == level.size)
            expected = page.asarray()
            if expected.ndim == 2:
                expected = np.stack([expected] * 3, axis=-1)
            worst = max(
                worst, worst_difference(slide.read_level(n, Box(0, 0, *level.size)), expected)
            )
    print(f"{name}: worst difference from tifffile {worst}")
    assert worst <= JPEG_TOLERANCE


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("predictor", [False, True])
def test_every_lossless_compression_gives_the_pixels_back(
    tmp_path: Path, byteorder: str, bigtiff: bool, compression: str | None, predictor: bool
):
    if predictor and compression not in ("zlib", "lzw", "zstd", "lzma"):
        return
    pixels = make_pixels(*WHOLE[2:])
    options = {"bigtiff": bigtiff, "byteorder": byteorder, "predictor": predictor}
    path = write_tiff(tmp_path / "a.tif", pixels, compression=compression, **options)
    with open_slide(path, reader="tiff") as slide:
        np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite"])
def test_16_bits_and_grey_are_shown_as_8_bits_of_rgb(
    tmp_path: Path, byteorder: str, compression: str | None, predictor: bool, photometric: str
):
    predictor = predictor and compression is not None
    deep = np.random.default_rng(0).integers(0, 65536, (150, 200, 3)).astype(np.uint16)
    stored = deep if photometric == "rgb" else deep[..., 0]
    path = write_tiff(
        tmp_path / "a.tif", stored, byteorder=byteorder, compression=compression,
        predictor=predictor, photometric=photometric,
    )  # fmt: skip
    expected = np.floor(stored / 257 + 0.5).astype(np.uint8)  # 65535 is 255
    if photometric == "miniswhite":
        expected = 255 - expected
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=-1)
    with open_slide(path, reader="tiff") as slide:
        np.testing.assert_array_equal(slide.read_level(0, WHOLE), expected)


@pytest.mark.parametrize("tile", [(16, 16), (64, 128), (256, 256), (512, 48)])
def test_tiles_may_have_any_shape_and_reach_beyond_the_picture(
    tmp_path: Path, tile: tuple[int, int]
):
    pixels = make_pixels(*WHOLE[2:])
    path = write_tiff(tmp_path / "a.tif", pixels, tile=tile, compression="zlib")
    with open_slide(path, reader="tiff") as slide:
        assert slide.info.levels[0].tile == tile[::-1]
        for box in (WHOLE, Box(13, 17, 101, 59), Box(199, 149, 1, 1)):
            part = pixels[box.y : box.bottom, box.x : box.right]
            np.testing.assert_array_equal(slide.read_level(0, box), part)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr", "minisblack"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_jpeg_has_openslides_pixels_in_every_colour_space(
    tmp_path: Path, photometric: str, subsampling: tuple[int, int]
):
    if photometric != "ycbcr" and subsampling != (1, 1):
        return
    path = write_jpeg_tiff(tmp_path / "a.tif", photometric, subsampling)
    with openslide.OpenSlide(path) as known, open_slide(path, reader="tiff") as slide:
        expected = over_white(known.read_region((0, 0), 0, WHOLE[2:]))
        assert worst_difference(slide.read_level(0, WHOLE), expected) <= JPEG_TOLERANCE


@pytest.mark.parametrize("hint", ["JFIF", "Adobe RGB", "Adobe YCbCr"])
@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_the_colour_space_is_the_tiffs_whatever_the_jpeg_hints_at(
    tmp_path: Path, photometric: str, hint: str
):
    """As OpenSlide sees it. A decoder that guesses is off by up to 254 grey levels."""
    marks = {
        "JFIF": b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0",
        "Adobe RGB": b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\0",
        "Adobe YCbCr": b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\1",
    }
    path = write_jpeg_tiff(tmp_path / "a.tif", photometric, hint=marks[hint])
    with openslide.OpenSlide(path) as known, open_slide(path, reader="tiff") as slide:
        expected = over_white(known.read_region((0, 0), 0, WHOLE[2:]))
        assert worst_difference(slide.read_level(0, WHOLE), expected) <= JPEG_TOLERANCE


@pytest.mark.parametrize("code", [33003, 33005])
def test_jpeg_2000_of_an_svs_has_openslides_pixels(tmp_path: Path, code: int):
    path = write_jpeg2000_svs(tmp_path / "a.svs", code)
    with openslide.OpenSlide(path) as known, open_slide(path, reader="tiff") as slide:
        assert known.properties["openslide.vendor"] == "aperio"
        expected = over_white(known.read_region((0, 0), 0, WHOLE[2:]))
        rounding = 1 if code == 33003 else 0
        assert worst_difference(slide.read_level(0, WHOLE), expected) <= rounding


def test_jpeg_2000_with_fewer_pixels_of_colour_goes_to_openslide(tmp_path: Path):
    path = write_jpeg2000_svs(tmp_path / "a.svs", 33003, chroma_step=2)
    with open_slide(path) as slide:
        assert slide.info.reader == "openslide"
        assert "fewer pixels of colour" in slide.info.why


def test_levels_in_subifds_are_read(tmp_path: Path):
    levels = [make_pixels(200, 150), make_pixels(100, 75, seed=1)]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        common: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
        metadata = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        file.write(levels[0], subifds=1, metadata=metadata, **common)
        file.write(levels[1], subfiletype=1, **common)
    path = tmp_path / "a.ome.tif"
    with open_slide(path, reader="tiff") as slide, open_slide(path, reader="tiffslide") as known:
        assert replace(slide.info, reader="tiffslide") == known.info
        for n, pixels in enumerate(levels):
            box = Box(0, 0, *slide.info.levels[n].size)
            np.testing.assert_array_equal(slide.read_level(n, box), pixels)


def test_tiles_that_were_not_scanned_are_background(tmp_path: Path):
    pixels = make_pixels(*WHOLE[2:])
    path = write_sparse(tmp_path / "a.tif", pixels, missing=(1, 6))
    expected = pixels.copy()
    expected[:64, 64:128] = 255
    expected[64:128, 128:192] = 255
    with open_slide(path) as slide, openslide.OpenSlide(path) as known:
        assert slide.info.reader == "tiff"
        np.testing.assert_array_equal(slide.read_level(0, WHOLE), expected)
        np.testing.assert_array_equal(slide.read_level(0, Box(70, 5, 20, 9)), expected[5:14, 70:90])
        shown = over_white(known.read_region((0, 0), 0, WHOLE[2:]))
        np.testing.assert_array_equal(shown, expected)


def test_an_svs_that_misses_coarse_tiles_goes_to_openslide_which_makes_them(tmp_path: Path):
    path = tmp_path / "a.svs"
    with tifffile.TiffWriter(path) as file:
        write_sparse_level(file, make_pixels(200, 150), (), description="Aperio x\r\n|MPP = 0.5")
        write_sparse_level(file, make_pixels(100, 75), (0,))
    with open_slide(path) as slide:
        assert slide.info.reader == "openslide"
        assert "tiles of a coarser level are missing" in slide.info.why


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tile": None}, "it has no tiles"),
        ({"planarconfig": "separate"}, "plane by plane"),
    ],
)
def test_what_does_not_fit_says_why(tmp_path: Path, options: dict[str, Any], why: str):
    pixels = make_pixels(200, 150)
    if "planarconfig" in options:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    path = write_tiff(tmp_path / "a.tif", pixels, photometric="rgb", **options)
    with pytest.raises(NotTiled, match=why):
        open_slide(path, reader="tiff")
    with open_slide(path) as slide:
        assert slide.info.reader != "tiff"
        assert why in slide.info.why
        shown = slide.read_level(0, WHOLE)
    np.testing.assert_array_equal(shown, make_pixels(200, 150))


@pytest.mark.real_data
def test_slides_that_are_no_tiff_are_left_to_others(real_data: Path):
    with pytest.raises(UnsupportedSlide, match="no TIFF"):
        open_slide(real_data / "slides" / "bone-raw.dcm", reader="tiff")
    with open_slide(real_data / "slides" / "bone-raw.dcm") as slide:
        assert (slide.info.reader, slide.info.why) == ("openslide", "the only one that reads dicom")


def test_a_tile_that_many_threads_need_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from wsi.readers import tiffblocks

    decoded: list[int] = []  # by which thread
    begin = threading.Barrier(8)
    real = tiffblocks.block_decoder

    def counting(ifd: Any) -> BlockDecoder:
        decode = real(ifd)

        def count(*arguments: Any) -> NDArray[Any]:
            decoded.append(threading.get_ident())
            return decode(*arguments)

        return count

    monkeypatch.setattr(tiffblocks, "block_decoder", counting)
    pixels = make_pixels(256, 256)
    path = write_tiff(tmp_path / "a.tif", pixels, tile=(256, 256), compression="zlib")
    boxes = [Box(32 * i, 0, 32, 256) for i in range(8)]
    with open_slide(path, reader="tiff") as slide:

        def read(box: Box) -> NDArray[np.uint8]:
            begin.wait(60)
            return slide.read_level(0, box)

        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(read, boxes))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), pixels)
    assert len(decoded) == 1


def test_the_file_is_closed_with_the_slide(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", make_pixels(64, 64))
    with open_slide(path, reader="tiff") as slide:
        slide.read_level(0, Box(0, 0, 5, 5))
        assert path in open_files()
    assert path not in open_files()


def open_files() -> list[Path]:
    return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
