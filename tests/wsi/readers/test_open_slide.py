"""open_slide: which reader it picks, names of files, errors of its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from wsi.errors import InvalidOption, MissingResolution, SlideNotFound, UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.slide import require_mpp

READABLE = {
    "CMU-1-Small-Region.svs": ("tiff", (2220, 2967)),
    "tcga-cr-7395-jp2k-no-mpp.svs": ("tiff", (4443, 3567)),
    "kidney-untiled-no-mpp.tif": ("image", (1493, 901)),
    "camelyon-multiframe.dcm": ("openslide", (1152, 700)),
    "bone-raw.dcm": ("openslide", (957, 715)),
    "bone-jpeg.dcm": ("openslide", (957, 715)),
    "bone-jpeg2000.dcm": ("openslide", (957, 715)),
    "highdicom-sm-image.dcm": ("openslide", (50, 50)),
    "highdicom-sm-image-control.dcm": ("openslide", (50, 50)),
    "boxes.tiff": ("tiff", (300, 250)),
    "boxes_0.dcm": ("openslide", (16, 16)),
    "boxes_1.dcm": ("openslide", (16, 16)),
    "small.svs": ("tiff", (16, 16)),
    "yb10kx5k.zstd.tiff": ("tiff", (10000, 5000)),
    "grey10kx5k.tif": ("image", (10000, 5000)),
} | {f"orientation-{i}.tif": ("tiff", (120, 180)) for i in range(9)}


@pytest.mark.real_data
def test_every_real_slide_is_read_by_the_reader_it_suits(real_data: Path):
    names = {path.name for path in (real_data / "slides").iterdir()}
    assert names == set(READABLE)
    for name, (reader, size) in READABLE.items():
        with open_slide(real_data / "slides" / name) as slide:
            assert (slide.info.reader, slide.info.size) == (reader, size), name
            assert slide.info.path == str(real_data / "slides" / name)
            for level in range(len(slide.info.levels)):
                assert slide.read_level(level, Box(0, 0, 5, 5)).shape == (5, 5, 3)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    ["CMU-1-Small-Region.svs", "tcga-cr-7395-jp2k-no-mpp.svs", "boxes.tiff", "small.svs"]
    + ["yb10kx5k.zstd.tiff"]
    + [f"orientation-{i}.tif" for i in range(9)],
)
def test_openslide_and_tiffslide_show_the_same_pixels(real_data: Path, name: str):
    path = real_data / "slides" / name
    with open_slide(path, reader="openslide") as one, open_slide(path, reader="tiffslide") as two:
        assert one.info.levels == two.info.levels
        assert one.info.mpp == two.info.mpp
        assert one.info.icc_profile == two.info.icc_profile
        for level in range(len(one.info.levels)):
            width, height = one.info.levels[level].size
            box = Box(width // 3, height // 3, min(500, width), min(500, height))
            np.testing.assert_array_equal(one.read_level(level, box), two.read_level(level, box))


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_a_file_name_may_have_spaces_emoji_and_200_letters(tmp_path: Path, reader: str):
    path = tmp_path / ("a slide 🔬 " + "x" * 180 + ".tiff")
    levels = write_pyramid(path, [(130, 70)])
    with open_slide(path, reader=reader) as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 130, 70)), levels[0])
        assert slide.info.name == path.name


@pytest.mark.real_data
def test_a_real_slide_keeps_its_pixels_under_a_difficult_name(real_data: Path, tmp_path: Path):
    path = tmp_path / ("breast 🩺 " + "y" * 190 + ".svs")
    shutil.copy(real_data / "slides" / "CMU-1-Small-Region.svs", path)
    box = Box(500, 600, 64, 64)
    with (
        open_slide(path) as copy,
        open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide,
    ):
        np.testing.assert_array_equal(copy.read_level(0, box), slide.read_level(0, box))


@pytest.mark.real_data
def test_a_dicom_slide_opens_by_its_folder_or_any_of_its_files(real_data: Path, tmp_path: Path):
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        shutil.copy(real_data / "slides" / name, tmp_path / name)
    for path in (tmp_path, tmp_path / "boxes_0.dcm", tmp_path / "boxes_1.dcm"):
        with open_slide(path) as slide:
            assert slide.info.files == (tmp_path / "boxes_0.dcm", tmp_path / "boxes_1.dcm")
            assert slide.info.mpp == (0.499, 0.499)


@pytest.mark.real_data
def test_a_folder_of_several_dicom_slides_is_refused_by_number(real_data: Path, tmp_path: Path):
    for name in ("boxes_0.dcm", "bone-raw.dcm"):
        shutil.copy(real_data / "slides" / name, tmp_path / name)
    with pytest.raises(UnsupportedSlide, match="2 DICOM slides; give one"):
        open_slide(tmp_path)


def test_a_folder_without_a_slide_is_refused(tmp_path: Path):
    with pytest.raises(UnsupportedSlide, match="without a DICOM"):
        open_slide(tmp_path)


def test_grey_with_alpha_goes_to_tiffslide_as_openslide_drops_the_alpha(tmp_path: Path):
    pixels = np.full((40, 50, 2), 100, np.uint8)
    pixels[..., 1] = 51  # a fifth
    write_tiff(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.info.reader == "tiffslide"
        assert (slide.read_level(0, Box(0, 0, 50, 40)) == 100 / 5 + 255 * 4 / 5).all()


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("reader", ["openslide", "tiffslide", "image"])
def test_16_bits_are_scaled_to_8(tmp_path: Path, reader: str, tile: tuple[int, int] | None):
    if reader == "openslide" and tile is None:
        return
    pixels = np.zeros((4, 5, 3), np.uint16)
    pixels[0], pixels[1], pixels[2] = 65535, 0x8000, 257
    write_tiff(tmp_path / "a.tif", pixels, tile=tile)
    with open_slide(tmp_path / "a.tif", reader=reader) as slide:
        assert slide.read_level(0, Box(0, 0, 1, 4))[:, 0, 0].tolist() == [255, 128, 1, 0]


def test_levels_in_subifds_are_seen(tmp_path: Path):
    """As in OME-TIFF, of which OpenSlide shows only the largest level."""
    levels = [make_pixels(200, 120), make_pixels(100, 60, seed=1)]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        common = {"photometric": "rgb", "tile": (64, 64)}
        metadata = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        file.write(levels[0], subifds=1, metadata=metadata, **common)
        file.write(levels[1], subfiletype=1, **common)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert [level.size for level in slide.info.levels] == [(200, 120), (100, 60)]
        assert (slide.info.mpp, slide.info.mpp_source) == ((0.25, 0.25), "ome.PhysicalSizeX")
        np.testing.assert_array_equal(slide.read_level(1, Box(0, 0, 100, 60)), levels[1])


def test_a_missing_file_is_not_found():
    with pytest.raises(SlideNotFound, match=r"/no/such\.svs: there is no such file"):
        open_slide("/no/such.svs")


def test_an_unknown_reader_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(InvalidOption, match=r"'bio'.*openslide, tiffslide, image"):
        open_slide(tmp_path, reader="bio")


@pytest.mark.parametrize("mpp", [0.0, -1.0, 352.8, float("nan"), (0.5, 99.0)])
def test_a_resolution_out_of_range_is_refused(tmp_path: Path, mpp: float):
    write_pyramid(tmp_path / "a.tiff", [(70, 70)])
    with pytest.raises(InvalidOption, match=r"use 0\.05 to 60"):
        open_slide(tmp_path / "a.tiff", mpp=mpp)


@pytest.mark.real_data
def test_a_slide_without_resolution_says_which_option_to_pass(real_data: Path):
    path = real_data / "slides" / "tcga-cr-7395-jp2k-no-mpp.svs"
    with open_slide(path) as slide, pytest.raises(MissingResolution, match="--mpp"):
        require_mpp(slide.info)
    with open_slide(path, mpp=0.5) as slide:
        assert require_mpp(slide.info) == (0.5, 0.5)
        assert slide.info.mpp_source == "caller"


@pytest.mark.real_data
def test_a_default_of_72_dpi_is_named_in_the_error(real_data: Path):
    with (
        open_slide(real_data / "slides" / "yb10kx5k.zstd.tiff") as slide,
        pytest.raises(MissingResolution, match="72 dpi, a program's default"),
    ):
        require_mpp(slide.info)


@pytest.mark.real_data
def test_a_breakhis_picture_is_a_slide(real_data: Path):
    path = sorted((real_data / "breakhis").glob("*-40-*.png"))[0]
    with open_slide(path, mpp=1.99) as slide:
        assert (slide.info.size, slide.info.mpp) == ((700, 460), (1.99, 1.99))
        whole = slide.read_level(0, Box(0, 0, 700, 460))
    np.testing.assert_array_equal(whole, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.real_data
def test_properties_hold_nothing_of_the_patient_or_the_user(real_data: Path):
    """CMU-1 has a user, a date, a file name and a scanner in its own properties."""
    for reader in ("openslide", "tiffslide"):
        with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs", reader=reader) as slide:
            kept = slide.info.properties
        assert kept["openslide.objective-power"] == "20"
        assert all(key.startswith("openslide.") for key in kept)
        assert "b414003d" not in str(kept)
        assert "12/29/09" not in str(kept)


def test_opening_a_picture_does_not_load_the_slide_libraries(tmp_path: Path):
    import subprocess
    import sys

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    program = (
        "import sys; from wsi.readers import open_slide; from wsi.geometry import Box\n"
        "open_slide(sys.argv[1]).read_level(0, Box(0, 0, 1, 1))\n"
        "print(sorted({'openslide', 'tiffslide', 'zarr', 'pydicom', 'torch'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"
