"""The compiled averages against SciPy's sparse product, which stands in where there are none."""

import array
import platform
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi import resample
from wsi.resample import area_average, average_by_scipy, why_not_compiled
from wsi.weights import Weights, area_weights, covered_weights, linear_weights

pytestmark = pytest.mark.skipif(why_not_compiled() is not None, reason=str(why_not_compiled()))

FUSED = 0 if platform.machine() == "x86_64" else 1  # grey levels: elsewhere SciPy's may be fused


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def by_c(rgb: np.ndarray, rows: Weights, columns: Weights) -> np.ndarray:
    from wsi import _area

    out = np.empty((rows.count, columns.count, 3), np.uint8)
    _area.average(rgb, rows.arrays, columns.arrays, out)
    return out


@pytest.fixture
def no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("SciPy was asked")

    monkeypatch.setattr(resample, "average_by_scipy", refuse)


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
    compiled = by_c(rgb, rows, columns)
    plain = average_by_scipy(rgb, rows, columns)
    assert compiled.shape == (count, count + 3, 3)
    assert np.abs(compiled.astype(int) - plain).max() <= FUSED


@pytest.mark.usefixtures("no_scipy")
@pytest.mark.parametrize(
    "part",
    [
        noise(40, 50)[5:25, 8:28],
        noise(20, 20)[::-1],
        np.frombuffer(noise(20, 20).tobytes(), np.uint8).reshape(20, 20, 3),  # read only
    ],
)
def test_lines_may_lie_anywhere(part: np.ndarray) -> None:
    weights = area_weights(0.4, 19.9, 20, 7)
    expected = average_by_scipy(part.copy(), weights, weights)
    assert np.abs(area_average(part, weights, weights).astype(int) - expected).max() <= FUSED


def test_lines_of_the_result_may_lie_apart() -> None:
    from wsi import _area

    weights = area_weights(0.4, 19.9, 20, 7)
    rgb, room = noise(20, 20), np.full((14, 9, 3), 77, np.uint8)
    _area.average(rgb, weights.arrays, weights.arrays, room[::2, 1:8])
    assert np.array_equal(room[::2, 1:8], by_c(rgb, weights, weights))
    assert (room[1::2] == 77).all()
    assert (room[:, [0, 8]] == 77).all()


def test_a_pixel_made_of_none_is_black() -> None:
    full, empty = integers(0, 1, 1, 2), integers(0, 1)
    weights = Weights(full, empty, np.ones(2, np.float32), 2)
    rgb = np.full((2, 2, 3), 200, np.uint8)
    assert by_c(rgb, weights, weights)[..., 0].tolist() == [
        [200, 0, 200],
        [0, 0, 0],
        [200, 0, 200],
    ]


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
        (noise(4, 4)[..., ::-1], np.empty((1, 1, 3), np.uint8)),
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


def view(numbers: list, form: str, *shape: int) -> memoryview:
    return memoryview(bytearray(array.array(form, numbers).tobytes())).cast(form, shape)


@pytest.mark.parametrize(
    ("index", "taps", "form", "why"),
    [
        (0, 1, "B", None),
        (4, 1, "B", "other pixels"),  # the columns' weights are refused
        (0, 2, "B", "other pixels"),
        (0, 1, "b", "pictures are uint8"),
    ],
)
def test_nothing_is_held_afterwards(index: int, taps: int, form: str, why: str | None) -> None:
    from wsi import _area

    rgb, out = view([7] * 48, form, 4, 4, 3), view([0] * 3, "B", 1, 1, 3)
    rows = view([0, 1], "i", 2), view([0], "i", 1), view([1], "f", 1)
    columns = view([0, taps], "i", 2), view([index], "i", 1), view([1], "f", 1)
    with pytest.raises((TypeError, ValueError), match=why) if why else nullcontext():
        _area.average(rgb, rows, columns, out)
    with pytest.raises(TypeError, match="weights are"):
        _area.average(view([7] * 48, "B", 4, 4, 3), rows[:2], columns, out)
    for one in (rgb, out, *rows, *columns):
        one.release()  # raises where somebody holds it


def test_weights_of_another_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="weights of 10 x 10 px"):
        area_average(noise(20, 20), area_weights(0, 10, 10, 5), area_weights(0, 10, 10, 5))


def test_a_part_of_weights_needs_its_pixels() -> None:
    weights = area_weights(0, 20, 20, 5)
    assert weights.part(slice(2, 4), 8, 8).sparse.toarray().tolist() == (
        weights.sparse.toarray()[2:4, 8:16].tolist()
    )
    for first, length in ((9, 8), (8, 7)):
        with pytest.raises(ValueError, match="need more than"):
            weights.part(slice(2, 4), first, length)


def test_weights_that_are_shared_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        area_weights(0, 20, 20, 5).indices[0] = 10**9
