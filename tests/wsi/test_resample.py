"""Area averages against a float64 reference that adds up covered areas one by one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wsi import resample
from wsi.resample import area_average, average_box, why_not_compiled
from wsi.weights import area_weights


@pytest.fixture(params=["compiled", "by SciPy"], autouse=True)
def averages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by SciPy":
        monkeypatch.setattr(resample, "_area", None)
    elif why_not_compiled():
        pytest.skip(str(why_not_compiled()))


def brute_weights(start: float, stop: float, length: int, count: int) -> NDArray[np.float64]:
    weights = np.zeros((count, length))
    for k in range(count):
        low = start + (stop - start) * k / count
        high = start + (stop - start) * (k + 1) / count
        for pixel in range(length):
            weights[k, pixel] = max(0.0, min(high, pixel + 1) - max(low, pixel))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("start", "stop", "length", "count"),
    [
        (0, 12, 12, 3),  # whole pixels
        (0, 10, 10, 4),  # 2.5 pixels each
        (0.3, 9.9, 10, 7),  # fractions at both ends
        (0, 5, 5, 5),  # nothing to average
        (1.25, 1.75, 4, 1),  # inside one pixel
        (0, 10.4, 10, 4),  # the last part sticks out
        (0, 7, 7, 11),  # enlarging
    ],
)
def test_weights_are_the_covered_lengths(start: float, stop: float, length: int, count: int):
    weights = area_weights(start, stop, length, count).sparse.toarray()
    np.testing.assert_allclose(weights, brute_weights(start, stop, length, count), atol=1e-6)


def test_a_part_beyond_the_source_repeats_the_nearest_pixel():
    weights = area_weights(0, 9, 6, 3).sparse.toarray()
    assert weights[2].tolist() == [0, 0, 0, 0, 0, 1]


def test_pixels_are_averaged_over_both_axes_and_channels_stay_apart():
    rgb = np.zeros((2, 4, 3), np.uint8)
    rgb[..., 0] = [[10, 20, 100, 100], [30, 40, 200, 200]]
    rgb[..., 1] = 7
    rgb[..., 2] = [[0, 0, 0, 0], [1, 1, 1, 2]]
    out = area_average(rgb, area_weights(0, 2, 2, 1), area_weights(0, 4, 4, 2))
    assert out.tolist() == [[[25, 7, 1], [150, 7, 1]]]  # 0.5 and 0.75 round up


def test_a_fractional_shrink_agrees_with_float64_to_a_grey_level():
    rgb = np.random.default_rng(5).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    rows, columns = (0.4, 36.7, 37, 11), (1.1, 52.6, 53, 17)
    expected = np.einsum(
        "iy,jx,yxc->ijc", brute_weights(*rows), brute_weights(*columns), rgb.astype(np.float64)
    )
    out = area_average(rgb, area_weights(*rows), area_weights(*columns))
    assert np.abs(out - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("grey", [0, 1, 127, 254, 255])
def test_an_even_colour_stays_what_it_is(grey: int):
    rgb = np.full((29, 31, 3), grey, np.uint8)
    out = area_average(rgb, area_weights(0, 29, 29, 7), area_weights(0, 31, 31, 6))
    assert (out == grey).all()


@pytest.mark.parametrize(
    ("edges", "shape"),
    [
        ((0, 0, 48, 36), (12, 12)),  # whole pixels: 4 by 3
        ((3, 2, 48, 37), (7, 11)),  # whole edges, fractions inside
        ((0.5, 0, 48, 36), (9, 12)),  # an edge inside a pixel
        ((0, 0, 55, 40), (10, 15)),  # sticks out on the right and below
        ((5, 6, 9, 10), (8, 8)),  # enlarged
        ((2, 3, 32, 33), (30, 10)),  # rows stay, columns shrink
        ((7, 8, 18, 28), (20, 11)),  # pixels as they are
    ],
)
def test_each_part_of_a_box_is_the_mean_of_what_it_covers(
    edges: tuple[float, float, float, float], shape: tuple[int, int]
):
    rgb = np.random.default_rng(6).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    left, top, right, bottom = edges
    expected = np.einsum(
        "iy,jx,yxc->ijc",
        brute_weights(top, bottom, 37, shape[0]),
        brute_weights(left, right, 53, shape[1]),
        rgb.astype(np.float64),
    )
    out = average_box(rgb, left, top, right, bottom, shape)
    assert np.abs(out - expected).max() <= 0.5 + 1e-3


def test_a_mean_of_a_half_rounds_up_at_any_factor():
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[0, :2] = 4
    rgb[0, 2:] = 20  # 48 / 16 = 3
    assert average_box(rgb, 0, 0, 4, 4, (1, 1)).tolist() == [[[3, 3, 3]]]
    rgb[1, 0] = 8  # 56 / 16 = 3.5
    assert average_box(rgb, 0, 0, 4, 4, (1, 1)).tolist() == [[[4, 4, 4]]]
    rgb[1, 1] = 240
    rgb[3, 3] = 240
    rgb[2, 2] = 240
    rgb[3, 0] = 240
    rgb[3, 1] = 144  # 1160 / 16 = 72.5, where half to even would give 72
    assert average_box(rgb, 0, 0, 4, 4, (1, 1)).tolist() == [[[73, 73, 73]]]


def test_a_box_of_pixels_as_they_are_is_a_copy():
    rgb = np.full((4, 4, 3), 9, np.uint8)
    average_box(rgb, 0, 0, 4, 4, (4, 4))[:] = 0
    assert (rgb == 9).all()
