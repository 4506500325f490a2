import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi.geometry import (
    Box,
    Scale,
    Size,
    best_level,
    downsample_from_sizes,
    is_plausible_mpp,
    outer_box,
    round_half_up,
)

boxes = st.builds(
    Box, st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 60), st.integers(0, 60)
)


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, 0), (-1.5, -1), (2.4999, 2)]
)
def test_halves_go_up(value: float, rounded: int):
    assert round_half_up(value) == rounded


@given(boxes, boxes)
def test_an_intersection_holds_exactly_the_pixels_of_both(a: Box, b: Box):
    common = a.intersection(b)
    pixels = {
        (x, y)
        for x in range(max(a.x, b.x), min(a.right, b.right))
        for y in range(max(a.y, b.y), min(a.bottom, b.bottom))
    }
    assert common.width * common.height == len(pixels)
    assert common.is_empty == (not pixels)
    if pixels:
        assert (common.x, common.y) == min(pixels)
        assert (common.right - 1, common.bottom - 1) == max(pixels)


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_an_outer_box_holds_the_rectangle_and_not_a_pixel_more(
    left: float, top: float, width: float, height: float
):
    right, bottom = left + width, top + height
    box = outer_box(left, top, right, bottom)
    assert box.x <= left + 1e-6 < box.x + 1 + 1e-9
    assert box.y <= top + 1e-6 < box.y + 1 + 1e-9
    assert box.right - 1 - 1e-9 < right - 1e-6 <= box.right
    assert box.bottom - 1 - 1e-9 < bottom - 1e-6 <= box.bottom


def test_an_edge_that_a_rounding_error_moved_costs_no_column():
    assert outer_box(0, 0, 3 * 1.1 / 1.1 + 1e-12, 4 - 1e-12) == Box(0, 0, 3, 4)


@pytest.mark.parametrize("mpp", [352.8, 264.6, 84.7, 0.0, -0.25, math.nan, math.inf, 0.049])
def test_a_resolution_that_some_program_made_up_is_not_believed(mpp: float):
    assert not is_plausible_mpp(mpp)


@pytest.mark.parametrize("mpp", [0.05, 0.25, 0.499, 28.97, 60.0])
def test_a_resolution_of_a_scanner_is_believed(mpp: float):
    assert is_plausible_mpp(mpp)


def test_a_level_that_was_cut_to_whole_pixels_keeps_its_whole_factor():
    assert downsample_from_sizes(Size(4443, 3567), Size(1110, 891)) == Scale(4, 4)
    assert downsample_from_sizes(Size(4443, 3567), Size(1111, 892)) == Scale(4, 4)


def test_a_level_with_no_whole_factor_has_the_ratio_of_each_axis():
    assert downsample_from_sizes(Size(1000, 900), Size(400, 300)) == Scale(2.5, 3)


@given(st.integers(1, 64), st.integers(64, 200_000), st.integers(64, 200_000), st.booleans())
def test_a_whole_factor_is_found_from_the_sizes_of_any_level_that_is_not_tiny(
    factor: int, width: int, height: int, rounds_up: bool
):
    size = Size(*(-(-n // factor) if rounds_up else n // factor for n in (width, height)))
    found = downsample_from_sizes(Size(width, height), size)
    assert abs(width / found.x - size.width) < 1
    assert abs(height / found.y - size.height) < 1
    if max(size) > 2 * factor:
        assert found == Scale(factor, factor)


def test_the_coarsest_level_that_is_fine_enough_is_taken():
    mpps = [0.25, 1.0, 4.0, 16.0]
    assert best_level(mpps, 4.0) == 2
    assert best_level(mpps, 3.0) == 1
    assert best_level(mpps, 0.1) == 0


def test_a_level_is_taken_that_is_a_twentieth_coarser_but_no_more():
    assert best_level([0.2503, 0.2503 * 16], 4.0) == 1
    assert best_level([0.25, 4.201], 4.0) == 0


def test_levels_need_not_be_sorted():
    assert best_level([0.25, 4.0, 1.0], 4.0) == 1
