"""What every reader promises. Inherit it, and give the two fixtures."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wsi.errors import InvalidOption
from wsi.geometry import Box, downsample_from_sizes, is_plausible_mpp
from wsi.readers import READERS
from wsi.slide import Slide

OpenSlide = Callable[[], Slide]


class ReaderContract:
    """Inherit and define the fixture `open_it`: a function that opens the same slide each time."""

    @pytest.fixture
    def open_it(self) -> OpenSlide:
        raise NotImplementedError

    def test_it_is_a_slide(self, open_it: OpenSlide):
        with open_it() as slide:
            assert isinstance(slide, Slide)

    def test_its_info_agrees_with_itself(self, open_it: OpenSlide):
        with open_it() as slide:
            info = slide.info
        assert info.reader in {*READERS, "array"}
        assert info.levels[0].size == info.size
        assert info.levels[0].downsample == (1, 1)
        widths = [level.size.width for level in info.levels]
        assert widths == sorted(widths, reverse=True)
        for level in info.levels:
            assert level.tile.width > 0
            assert level.tile.height > 0
            assert level.downsample == downsample_from_sizes(info.size, level.size)
        assert (info.mpp is None) == (info.mpp_source is None)
        assert info.mpp is None or all(map(is_plausible_mpp, info.mpp))
        assert info.bounds0.intersection(Box(0, 0, *info.size)) == info.bounds0
        assert all(path.is_file() for path in info.files)

    def test_a_box_is_rows_first_rgb_bytes(self, open_it: OpenSlide):
        with open_it() as slide:
            pixels = slide.read_level(0, Box(0, 0, 11, 7))
        assert pixels.shape == (7, 11, 3)
        assert pixels.dtype == np.uint8

    def test_boxes_are_in_the_frame_of_their_level(self, open_it: OpenSlide):
        """A part read alone equals the same part of the whole level, on every level."""
        with open_it() as slide:
            for n, level in enumerate(slide.info.levels):
                width, height = (min(700, side) for side in level.size)
                whole = slide.read_level(n, Box(0, 0, width, height))
                x, y = width // 3, height // 2
                part = slide.read_level(n, Box(x, y, width - x, height - y))
                np.testing.assert_array_equal(part, whole[y:, x:])

    def test_outside_the_slide_is_background(self, open_it: OpenSlide):
        with open_it() as slide:
            for n, level in enumerate(slide.info.levels):
                size = level.size
                around = slide.read_level(n, Box(size.width - 3, size.height - 2, 8, 9))
                corner = slide.read_level(n, Box(size.width - 3, size.height - 2, 3, 2))
                np.testing.assert_array_equal(around[:2, :3], corner)
                assert (around[2:] == slide.info.background).all()
                assert (around[:, 3:] == slide.info.background).all()
                before = slide.read_level(n, Box(-4, -5, 6, 7))
                assert (before[:5] == slide.info.background).all()
                np.testing.assert_array_equal(before[5:, 4:], slide.read_level(n, Box(0, 0, 2, 2)))

    def test_far_outside_is_all_background(self, open_it: OpenSlide):
        with open_it() as slide:
            pixels = slide.read_level(0, Box(slide.info.size.width + 50, -9999, 5, 4))
            assert (pixels == slide.info.background).all()
            assert slide.read_level(0, Box(2, 2, 0, 3)).shape == (3, 0, 3)

    def test_the_caller_owns_the_array(self, open_it: OpenSlide):
        with open_it() as slide:
            first = slide.read_level(0, Box(0, 0, 8, 8))
            kept = first.copy()
            first[:] = 255 - first
            np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 8, 8)), kept)

    def test_an_unknown_level_is_refused(self, open_it: OpenSlide):
        with open_it() as slide, pytest.raises(InvalidOption, match="level 99"):
            slide.read_level(99, Box(0, 0, 1, 1))

    def test_a_closed_slide_refuses_to_read(self, open_it: OpenSlide):
        slide = open_it()
        slide.close()
        slide.close()
        with pytest.raises(InvalidOption, match="closed"):
            slide.read_level(0, Box(0, 0, 1, 1))

    def test_eight_threads_read_what_one_reads(self, open_it: OpenSlide):
        with open_it() as slide:
            last = len(slide.info.levels) - 1
            size = slide.info.levels[last].size
            boxes = [Box(i * size.width // 20, i * size.height // 20, 40, 30) for i in range(16)]
            alone = [slide.read_level(last, box) for box in boxes]
            with ThreadPoolExecutor(8) as pool:
                together = list(pool.map(lambda box: slide.read_level(last, box), boxes))
        with open_it() as fresh, ThreadPoolExecutor(8) as pool:
            first_reads = list(pool.map(lambda box: fresh.read_level(last, box), boxes))
        for one, other, first in zip(alone, together, first_reads, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(one, first)
