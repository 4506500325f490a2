import errno
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
import tiffslide

from wsi import pyramid_tiff
from wsi.errors import InvalidOption, ResultExists
from wsi.geometry import Box, Mpp, Size
from wsi.pyramid_tiff import level_sizes, write_pyramid


def make_picture(width: int = 2600, height: int = 1300) -> np.ndarray:
    """Smooth in both directions, so that JPEG changes it little; every 64th line is different."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x // 64 + y // 64) * 3 % 250], -1).astype(
        np.uint8
    )


def write(out: Path, rgb: np.ndarray, **options: object) -> Path:
    options = {"mpp": Mpp(0.25, 0.25), "workers": 2} | options
    height, width = rgb.shape[:2]
    write_pyramid(out, Size(width, height), lambda b: rgb[b.y : b.bottom, b.x : b.right], **options)
    return out


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory):
    return write(tmp_path_factory.mktemp("pyramid") / "slide.tiff", make_picture(), quality=None)


def test_levels_are_quarters_until_1024_px():
    assert level_sizes(Size(20_000, 10_001)) == [
        (20_000, 10_001),
        (5000, 2501),
        (1250, 626),
        (313, 157),
    ]
    assert level_sizes(Size(1024, 1024)) == [(1024, 1024)]


def test_openslide_sees_every_pixel_of_level_0(lossless: Path):
    with openslide.OpenSlide(lossless) as slide:
        assert slide.level_dimensions == ((2600, 1300), (650, 325))
        seen = np.asarray(slide.read_region((0, 0), 0, (2600, 1300)).convert("RGB"))
    assert (seen == make_picture()).all()


def test_openslide_and_tiffslide_know_resolution_and_power(lossless: Path):
    with openslide.OpenSlide(lossless) as slide:
        assert float(slide.properties["openslide.mpp-x"]) == 0.25
        assert float(slide.properties["openslide.mpp-y"]) == 0.25
        assert slide.properties["openslide.objective-power"] == "40"
        assert slide.properties["openslide.vendor"] == "aperio"
    with tiffslide.TiffSlide(lossless) as slide:
        assert slide.level_dimensions == ((2600, 1300), (650, 325))
        assert slide.properties["tiffslide.mpp-x"] == 0.25


def test_resolution_tags_are_those_of_each_level(lossless: Path):
    with tifffile.TiffFile(lossless) as tiff:
        pixels_a_cm = [
            page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1]
            for page in tiff.pages
            if page.is_tiled
        ]
    assert pixels_a_cm == [40_000, 10_000]


def test_a_level_is_the_mean_of_16_pixels_below(lossless: Path):
    with tifffile.TiffFile(lossless) as tiff:
        coarse = tiff.series[0].levels[1].asarray().astype(float)
    mean = make_picture().reshape(325, 4, 650, 4, 3).mean(axis=(1, 3))
    assert np.abs(coarse - mean).max() <= 0.5


def test_the_thumbnail_is_the_coarsest_level(lossless: Path):
    with openslide.OpenSlide(lossless) as slide:
        thumbnail = np.asarray(slide.associated_images["thumbnail"].convert("RGB"))
        coarsest = slide.read_region((0, 0), 1, (650, 325)).convert("RGB")
    assert (thumbnail == np.asarray(coarsest)).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1025, 3), (2049, 1027), (256, 5000)])
def test_sizes_that_no_tile_divides_come_out_whole(tmp_path: Path, width: int, height: int):
    rgb = make_picture(width, height)
    out = write(tmp_path / "slide.tiff", rgb, quality=None)
    with tifffile.TiffFile(out) as tiff:
        levels = [level.shape[:2] for level in tiff.series[0].levels]
        assert levels == [(h, w) for w, h in level_sizes(Size(width, height))]
        assert (tiff.series[0].asarray() == rgb).all()


def test_jpeg_is_close_to_what_was_drawn(tmp_path: Path):
    out = write(tmp_path / "slide.tiff", make_picture(), quality=90)
    with openslide.OpenSlide(out) as slide:
        seen = np.asarray(slide.read_region((0, 0), 0, (2600, 1300)).convert("RGB"))
    assert np.abs(seen[..., :2].astype(int) - make_picture()[..., :2]).mean() < 2
    assert out.stat().st_size < 2600 * 1300


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path):
    one = write(tmp_path / "one.tiff", make_picture(), workers=1)
    four = write(tmp_path / "four.tiff", make_picture(), workers=4)
    assert one.read_bytes() == four.read_bytes()


def test_every_block_is_asked_for_once_and_counted(tmp_path: Path):
    asked: list[Box] = []
    counts: list[tuple[int, int]] = []

    def read(box: Box) -> np.ndarray:
        asked.append(box)
        return np.zeros((box.height, box.width, 3), np.uint8)

    size = Size(2049, 1024)
    write_pyramid(
        tmp_path / "slide.tiff",
        size,
        read,
        mpp=Mpp(1, 1),
        on_progress=lambda *count: counts.append(count),
    )
    assert sorted(asked) == [(0, 0, 1024, 1024), (1024, 0, 1024, 1024), (2048, 0, 1, 1024)]
    assert counts == [(1, 3), (2, 3), (3, 3)]


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path):
    out = tmp_path / "slide.tiff"
    out.write_text("mine")
    with pytest.raises(ResultExists, match=r"slide\.tiff: the file exists"):
        write(out, make_picture(64, 64))
    assert out.read_text() == "mine"
    write(out, make_picture(64, 64), overwrite=True)
    assert tifffile.imread(out).shape == (64, 64, 3)


def test_a_block_that_fails_leaves_nothing_behind(tmp_path: Path):
    def read(box: Box) -> np.ndarray:
        if box.x >= 2048:
            raise OSError(errno.ENOSPC, "No space left on device")
        return np.zeros((box.height, box.width, 3), np.uint8)

    with pytest.raises(OSError, match="No space"):
        write_pyramid(tmp_path / "slide.tiff", Size(9000, 2000), read, mpp=Mpp(1, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_os_error_and_leaves_no_slide(tmp_path: Path):
    (tmp_path / "slide.tiff.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "slide.tiff", make_picture())
    assert list(tmp_path.iterdir()) == []


def test_coarse_levels_that_outgrow_memory_wait_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pyramid_tiff, "SPILL_BYTES", 1000)
    out = write(tmp_path / "slide.tiff", make_picture(), quality=None)
    with tifffile.TiffFile(out) as tiff:
        assert tiff.series[0].levels[1].asarray()[-1, -1, 0] > 250
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mpp": Mpp(352.8, 352.8)}, "no resolution"),
        ({"quality": 0}, "JPEG quality 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], message: str
):
    with pytest.raises(InvalidOption, match=message):
        write(tmp_path / "slide.tiff", make_picture(64, 64), **options)
    assert list(tmp_path.iterdir()) == []
