"""The whole slide as one picture, against averages made from level 0 in float64."""

import numpy as np
import pytest
from numpy.typing import NDArray

import wsi.overview
from wsi.errors import CorruptSlide, MissingResolution, SlideTooLarge
from wsi.geometry import Box, Mpp, Scale
from wsi.overview import read_overview
from wsi.readers.array import ArraySlide


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    parts = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return np.floor(parts.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def brute_average(
    pixels: NDArray[np.uint8], px0: Scale, shape: tuple[int, int]
) -> NDArray[np.float64]:
    def weights(length: int, step: float, count: int) -> NDArray[np.float64]:
        low = np.arange(count)[:, None] * step
        at = np.arange(length)
        covered = np.minimum(low + step, at + 1) - np.maximum(low, at)
        covered = np.maximum(covered, 0)
        return covered / covered.sum(axis=1, keepdims=True)

    rows = weights(pixels.shape[0], px0.y, shape[0])
    columns = weights(pixels.shape[1], px0.x, shape[1])
    return np.einsum("iy,jx,yxc->ijc", rows, columns, pixels.astype(np.float64))


@pytest.mark.parametrize(
    ("mpp", "target"), [(0.5, 8.0), (0.499, 8.0), (0.2503, 4.0), (3.0, 8.0), (8.0, 8.0)]
)
def test_every_pixel_is_the_mean_of_its_rectangle_on_level_0(mpp: float, target: float):
    pixels = noise(97, 131)
    overview = read_overview(ArraySlide([pixels], Mpp(mpp, mpp)), target)
    height, width = overview.rgb.shape[:2]
    assert overview.px0.x == pytest.approx(target / mpp)
    assert (height - 1) * overview.px0.y < 97 <= height * overview.px0.y + 1e-6
    assert (width - 1) * overview.px0.x < 131 <= width * overview.px0.x + 1e-6
    expected = brute_average(pixels, overview.px0, (height, width))
    assert np.abs(overview.rgb - expected).max() <= 0.5 + 1e-3


def test_pixels_that_are_not_square_become_square_micrometres():
    pixels = noise(60, 90)
    overview = read_overview(ArraySlide([pixels], Mpp(0.5, 1.0)), 4.0)
    assert overview.px0 == Scale(8.0, 4.0)
    assert overview.rgb.shape == (15, 12, 3)
    expected = brute_average(pixels, overview.px0, (15, 12))
    assert np.abs(overview.rgb - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("shape", [(96, 128), (97, 131)])  # whole cells, and cut ones at the edge
def test_half_a_grey_level_is_rounded_up_however_a_level_is_halved(shape: tuple[int, int]):
    pixels = noise(*shape)
    overview = read_overview(ArraySlide([pixels], Mpp(4.0, 4.0)), 8.0).rgb
    expected = halved(pixels)
    np.testing.assert_array_equal(overview[: len(expected), : expected.shape[1]], expected)


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch):
    slide = ArraySlide([noise(301, 257)], Mpp(0.37, 0.37))
    whole = read_overview(slide, 2.0).rgb
    monkeypatch.setattr(wsi.overview, "BLOCK_PX", 40)
    # a float32 sum that falls on a half may round the other way
    assert np.abs(read_overview(slide, 2.0).rgb.astype(int) - whole).max() <= 1
    assert (read_overview(slide, 2.0).rgb == whole).mean() > 0.999


def test_no_more_than_a_block_of_a_slide_without_a_pyramid_is_read_at_once():
    boxes: list[Box] = []

    class Watched(ArraySlide):
        def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
            boxes.append(box)
            return super().read_level(level, box)

    pixels = np.zeros((5000, 9000, 3), np.uint8)
    read_overview(Watched([pixels], Mpp(0.5, 0.5)), 8.0)
    assert max(box.width for box in boxes) == max(box.height for box in boxes) == 1024
    assert sum(box.width * box.height for box in boxes) == 5000 * 9000  # each pixel once


def test_a_block_that_cannot_be_decoded_is_an_error(monkeypatch: pytest.MonkeyPatch):
    class Damaged(ArraySlide):
        def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
            if box.x > 0 and box.y > 0:
                raise CorruptSlide("the last block")
            return super().read_level(level, box)

    monkeypatch.setattr(wsi.overview, "BLOCK_PX", 40)
    with pytest.raises(CorruptSlide, match="the last block"):
        read_overview(Damaged([noise(80, 80)], Mpp(1.0, 1.0)), 2.0)


def test_the_coarsest_level_that_is_fine_enough_is_read():
    top = noise(256, 256)
    marked = np.full((64, 64, 3), 77, np.uint8)
    slide = ArraySlide([top, halved(top), marked, np.zeros((32, 32, 3), np.uint8)], Mpp(1.0, 1.0))
    assert (read_overview(slide, 4.0).rgb == 77).all()


def test_a_level_that_was_cut_short_repeats_its_last_pixels():
    top = np.full((50, 50, 3), 10, np.uint8)
    cut = np.full((12, 12, 3), 99, np.uint8)  # 12.5 px, cut to 12
    overview = read_overview(ArraySlide([top, cut], Mpp(1.0, 1.0)), 4.0)
    assert overview.rgb.shape == (13, 13, 3)
    assert (overview.rgb == 99).all()


def test_a_target_finer_than_the_slide_gives_level_0():
    pixels = noise(11, 13)
    overview = read_overview(ArraySlide([pixels], Mpp(10.0, 10.0)), 8.0)
    assert overview.mpp == 10.0
    assert (overview.rgb == pixels).all()


def test_a_slide_smaller_than_a_pixel_is_one_pixel():
    overview = read_overview(ArraySlide([np.full((3, 3, 3), 50, np.uint8)], Mpp(0.1, 0.1)), 8.0)
    assert overview.rgb.tolist() == [[[50, 50, 50]]]


def test_without_a_resolution_the_option_is_named():
    with pytest.raises(MissingResolution, match="--mpp"):
        read_overview(ArraySlide([noise(4, 4)]), 8.0)


def blank(side: int, mpp: float) -> ArraySlide:
    """That takes no memory, and is not read."""

    class Unread(ArraySlide):
        def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
            raise AssertionError("it was read")

    return Unread([np.broadcast_to(np.uint8(255), (side, side, 3))], Mpp(mpp, mpp))


@pytest.mark.parametrize(("mpp", "target"), [(8.0, 8.0), (25.0, 8.0), (0.5, 0.1)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_read(mpp: float, target: float):
    with pytest.raises(SlideTooLarge, match=r"12650 x 12650 px \(160 megapixels.*--mpp"):
        read_overview(blank(12_650, mpp), target)
    with pytest.raises(AssertionError, match="it was read"):
        read_overview(blank(12_649, mpp), target)
