"""The compiled averages against SciPy's sparse product, which stands in where there are none."""

import platform
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi.resample import area_average, average_by_scipy, is_compiled
from wsi.weights import area_weights, covered_weights, linear_weights

pytestmark = pytest.mark.skipif(
    not is_compiled(), reason="built without a C compiler: there is nothing to compare"
)

FUSED = 0 if platform.machine() == "x86_64" else 1  # grey levels: elsewhere SciPy's may be fused


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([area_weights, covered_weights, linear_weights]),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.floats(0, 0.999),
    st.floats(0.3, 1.2),
)
def test_the_bits_are_those_of_scipy(
    weigh: Callable, height: int, width: int, count: int, start: float, part: float
) -> None:
    rgb = noise(height, width)
    rows = weigh(start, start + part * height, height, count)
    columns = weigh(start / 2, start / 2 + part * width, width, count + 3)
    compiled = area_average(rgb, rows, columns)
    plain = average_by_scipy(rgb, rows, columns)
    assert compiled.shape == (count, count + 3, 3)
    assert np.abs(compiled.astype(int) - plain).max() <= FUSED


def test_lines_may_lie_apart() -> None:
    rgb = noise(40, 50)
    weights = area_weights(0.4, 19.9, 20, 7)
    part = rgb[5:25, 8:28]
    assert np.array_equal(
        area_average(part, weights, weights), area_average(part.copy(), weights, weights)
    )


@pytest.mark.parametrize(
    "turned",
    [
        lambda rgb: rgb[..., ::-1],  # blue first
        lambda rgb: rgb[:, ::-1],
        lambda rgb: rgb.transpose(1, 0, 2),
    ],
)
def test_pixels_need_not_lie_side_by_side(turned: Callable) -> None:
    weights = area_weights(0.4, 19.9, 20, 7)
    rgb = turned(noise(20, 20))
    assert np.array_equal(
        area_average(rgb, weights, weights), area_average(rgb.copy(), weights, weights)
    )


def test_lines_upside_down_are_read_where_they_are() -> None:
    weights = area_weights(0.4, 19.9, 20, 7)
    rgb = noise(20, 20)[::-1]
    assert np.array_equal(
        area_average(rgb, weights, weights), area_average(rgb.copy(), weights, weights)
    )


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


ONE = integers(0, 1), integers(0), np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ((integers(0, 1), integers(4), np.ones(1, np.float32)), "other pixels"),
        ((integers(0, 1), integers(-1), np.ones(1, np.float32)), "other pixels"),
        ((integers(0, 2), integers(0), np.ones(1, np.float32)), "other pixels"),
        ((integers(-1, 1), integers(0), np.ones(1, np.float32)), "other pixels"),
        ((integers(0, 2, 1), integers(0), np.ones(1, np.float32)), "other pixels"),
        ((integers(1, 0), integers(0), np.ones(1, np.float32)), "other pixels"),
        ((integers(), integers(0), np.ones(1, np.float32)), "other pixels"),
        ((integers(0, 1), integers(0, 1), np.ones(1, np.float32)), "other pixels"),
        ((integers(0, 1).astype(np.int64), integers(0), np.ones(1, np.float32)), "flat: int32"),
        ((integers(0, 1), integers(0), np.ones(1)), "flat: int32"),
        ((integers(0, 1), integers(0), integers(1)), "flat: int32"),
        ((integers(0, 1), integers(0)[None], np.ones(1, np.float32)), "flat: int32"),
    ],
)
@pytest.mark.parametrize("is_across", [False, True])
def test_weights_never_reach_beyond_the_pixels(weights: tuple, why: str, is_across: bool) -> None:
    from wsi import _area

    both = (ONE, weights) if is_across else (weights, ONE)
    with pytest.raises((TypeError, ValueError), match=why):
        _area.average(noise(4, 4), *both, np.empty((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ("rgb", "out"),
    [
        (noise(4, 4).astype(np.uint16), np.empty((1, 1, 3), np.uint8)),
        (noise(4, 4)[..., :2], np.empty((1, 1, 3), np.uint8)),
        (noise(4, 4)[..., 0], np.empty((1, 1, 3), np.uint8)),
        (noise(4, 4)[:, ::2], np.empty((1, 1, 3), np.uint8)),
        (noise(4, 4), np.empty((1, 1, 3), np.int8)),
        (noise(4, 4), np.empty((1, 2, 3), np.uint8)),
        (noise(4, 4), np.empty((2, 1, 3), np.uint8)),
        (noise(4, 4), np.frombuffer(b"123", np.uint8).reshape(1, 1, 3)),  # read only
    ],
)
def test_pictures_of_another_kind_are_refused(rgb: np.ndarray, out: np.ndarray) -> None:
    from wsi import _area

    with pytest.raises((TypeError, ValueError, BufferError)):
        _area.average(rgb, ONE, ONE, out)
