"""Scores to cells: exact without overlap, equal to brute force with it, and a pyramid of means."""

import warnings
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate

from wsi.errors import InvalidOption
from wsi.geometry import Box, Mpp, Size
from wsi.grid import TileGrid
from wsi.heatmap import Heatmap, assemble, pyramid

SIDE_WINDOWS = {
    "uniform": lambda u: 1.0,
    "gaussian": lambda u: np.exp(-(((u - 0.5) * 8) ** 2) / 2),
    "hann": lambda u: np.sin(np.pi * u) ** 2,
}


def make_grid(
    size: tuple[int, int] = (1000, 700),
    *,
    slide_mpp: tuple[float, float] = (0.5, 0.5),
    tile_px: int = 50,
    stride_px: int | None = None,
    mpp: float = 1.0,
    bounds0: Box | None = None,
) -> TileGrid:
    return TileGrid.over(
        Size(*size), Mpp(*slide_mpp), tile_px=tile_px, mpp=mpp, stride_px=stride_px, bounds0=bounds0
    )


def make_heatmap(
    grid: TileGrid,
    indices: NDArray[np.int32],
    positive: NDArray[np.float32],
    window: str = "uniform",
) -> Heatmap:
    return assemble(
        grid,
        indices,
        np.stack([1 - positive, positive], axis=1).astype(np.float32),
        classes=("benign", "idc"),
        positive_class="idc",
        threshold=0.5,
        window=window,
    )


def all_tiles(grid: TileGrid) -> NDArray[np.int32]:
    return np.argwhere(np.ones(grid.shape, bool)).astype(np.int32)


def blend_by_brute_force(
    grid: TileGrid, indices: NDArray[np.int32], prob: NDArray[np.float32], window: str
) -> NDArray[np.float64]:
    """Cell by cell and tile by tile in level-0 px, the window integrated numerically."""

    @cache
    def side(tile: int, cell: int, axis: int) -> float:
        tile0, stride0 = grid.tile0[axis], grid.stride0[axis]
        start = tile * stride0
        low, high = max(start, cell * stride0), min(start + tile0, (cell + 1) * stride0)
        if high - low <= 1e-9 * stride0:
            return 0.0
        weigh = SIDE_WINDOWS[window]
        return float(integrate.quad(lambda x: weigh((x - start) / tile0), low, high)[0])

    rows, columns = (
        next(n for n in range(1, 10_000) if np.floor(n * stride0 + 0.5) >= extent)
        for stride0, extent in (
            (grid.stride0.y, grid.bounds0.height),
            (grid.stride0.x, grid.bounds0.width),
        )
    )
    out = np.full((rows, columns), np.nan)
    for row in range(rows):
        for column in range(columns):
            weights = [side(int(r), row, 1) * side(int(c), column, 0) for r, c in indices]
            if sum(weights) > 0:
                out[row, column] = np.dot(weights, prob) / sum(weights)
    return out


def test_without_overlap_a_cell_is_its_tiles_score_to_the_bit() -> None:
    grid = make_grid()  # 100 level-0 px a tile: 7 rows of 10
    prob = np.random.default_rng(0).random(70, np.float32)
    for window in SIDE_WINDOWS:
        heatmap = make_heatmap(grid, all_tiles(grid), prob, window)
        assert heatmap.positive.tobytes() == prob.tobytes()


@pytest.mark.parametrize("window", SIDE_WINDOWS)
@pytest.mark.parametrize("stride_px", [50, 25, 20, 16, 33, 49, 7])
@pytest.mark.parametrize(
    ("slide_mpp", "bounds0"),
    [((0.5, 0.5), None), ((0.97, 0.97), Box(31, 17, 401, 333)), ((1.5, 0.7), None)],
    ids=["whole factor", "bounds", "oblong px"],
)
def test_overlap_blends_as_brute_force_does(
    window: str, stride_px: int, slide_mpp: tuple[float, float], bounds0: Box | None
) -> None:
    grid = make_grid((450, 380), slide_mpp=slide_mpp, mpp=2.0, stride_px=stride_px, bounds0=bounds0)
    rng = np.random.default_rng(stride_px)
    indices = all_tiles(grid)
    indices = indices[rng.random(len(indices)) < 0.4]
    prob = rng.random(len(indices), np.float32)
    expected = blend_by_brute_force(grid, indices, prob, window)
    heatmap = make_heatmap(grid, indices, prob, window)
    np.testing.assert_allclose(heatmap.positive, expected, rtol=0, atol=2e-6)


def test_two_half_overlapping_tiles_meet_in_the_cell_that_both_cover() -> None:
    grid = make_grid((150, 100), stride_px=25)  # cells of 50 px, tiles of 100 px
    indices = np.array([[0, 0], [0, 1]], np.int32)
    heatmap = make_heatmap(grid, indices, np.array([0.2, 0.8], np.float32))
    expected = [0.2, 0.5, 0.8]  # the cell in the middle is half of both
    np.testing.assert_allclose(heatmap.positive, [expected, expected], atol=1e-7)


def test_a_gaussian_window_trusts_the_tile_that_has_the_cell_in_its_middle() -> None:
    grid = make_grid((100, 100), tile_px=48, stride_px=16, mpp=0.5)  # a tile is three cells
    indices = np.array([[0, 0], [0, 1]], np.int32)
    prob = np.array([0.0, 1.0], np.float32)
    even = make_heatmap(grid, indices, prob, "uniform").positive[0]
    gaussian = make_heatmap(grid, indices, prob, "gaussian").positive[0]
    assert even[1] == even[2] == 0.5
    assert gaussian[1] < 0.11
    assert gaussian[2] > 0.89


def test_a_tile_is_shown_wherever_it_looked_and_nowhere_else() -> None:
    grid = make_grid((1000, 1000), stride_px=20)  # cells of 40 px; a tile is 2.5 cells
    heatmap = make_heatmap(grid, np.array([[3, 5]], np.int32), np.array([0.7], np.float32), "hann")
    rows, columns = np.nonzero(np.isfinite(heatmap.positive))
    assert (rows.min(), rows.max()) == (3, 5)
    assert (columns.min(), columns.max()) == (5, 7)
    assert np.all(heatmap.positive[3:6, 5:8] == np.float32(0.7))


def test_classes_still_sum_to_one_after_blending() -> None:
    grid = make_grid(stride_px=17)
    prob = np.random.default_rng(1).random(len(all_tiles(grid)), np.float32)
    heatmap = make_heatmap(grid, all_tiles(grid), prob, "gaussian")
    np.testing.assert_allclose(heatmap.values.sum(0), 1, atol=2e-7)


@pytest.mark.parametrize("stride_px", [50, 31, 16, 1])
@pytest.mark.parametrize("slide_mpp", [0.97, 0.25, 1.0, 0.5003])
def test_cells_cover_the_bounds_and_each_begins_inside(stride_px: int, slide_mpp: float) -> None:
    grid = make_grid(
        (997, 613),
        slide_mpp=(slide_mpp, slide_mpp),
        stride_px=stride_px,
        bounds0=Box(5, 3, 901, 577),
    )
    heatmap = make_heatmap(grid, all_tiles(grid)[:1], np.array([0.5], np.float32))
    for edges, low, high in ((heatmap.edges_x0, 5, 906), (heatmap.edges_y0, 3, 580)):
        assert edges[0] == low
        assert edges[-1] == high
        assert np.all(np.diff(edges) > 0)


def test_borders_of_cells_are_those_of_tiles_without_overlap() -> None:
    grid = make_grid((1000, 700), slide_mpp=(0.97, 1.1), mpp=1.0, bounds0=Box(7, 9, 800, 555))
    heatmap = make_heatmap(grid, all_tiles(grid)[:1], np.array([0.5], np.float32))
    assert heatmap.edges_x0[:-1].tolist() == grid.starts_x0.tolist()
    assert heatmap.edges_y0[:-1].tolist() == grid.starts_y0.tolist()


def test_a_channel_is_blended_as_a_class_is() -> None:
    grid = make_grid(stride_px=20)
    indices = all_tiles(grid)
    positive = np.random.default_rng(3).random(len(indices)).astype(np.float32)
    heatmap = assemble(
        grid, indices, np.stack([1 - positive, positive], 1), classes=("benign", "idc"),
        positive_class="idc", threshold=0.5, channels={"raw": positive, "other": positive / 2},
    )  # fmt: skip
    np.testing.assert_array_equal(heatmap.channels["raw"], heatmap.positive)
    np.testing.assert_allclose(heatmap.channels["other"], heatmap.positive / 2, rtol=1e-6)
    np.testing.assert_array_equal(heatmap.planes[:2], heatmap.values)
    np.testing.assert_array_equal(heatmap.planes[3], heatmap.channels["other"])


def test_further_channels_are_added_and_the_first_stay() -> None:
    heatmap = make_heatmap(make_grid(), np.array([[0, 0]]), np.array([0.5], np.float32))
    plane = np.zeros(heatmap.values.shape[1:], np.float32)
    both = heatmap.with_channels({"raw": plane}).with_channels({"context": plane})
    assert list(both.channels) == ["raw", "context"]
    assert heatmap.channels == {}


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"idc": np.zeros((7, 10))}, "a class and a channel are both named 'idc'"),
        ({"a/b": np.zeros((7, 10))}, "channel 'a/b'"),
        ({"raw": np.zeros((7, 9))}, r"channel raw has \(7, 9\) cells, the heatmap \(7, 10\)"),
    ],
)
def test_channels_that_do_not_fit_are_refused(
    channels: dict[str, NDArray[np.float32]], message: str
) -> None:
    heatmap = make_heatmap(make_grid(), np.array([[0, 0]]), np.array([0.5], np.float32))
    with pytest.raises(InvalidOption, match=message):
        heatmap.with_channels(channels)


def test_no_tissue_is_a_map_of_nan_and_no_warning() -> None:
    grid = make_grid()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heatmap = make_heatmap(grid, np.empty((0, 2), np.int32), np.empty(0, np.float32))
        levels = pyramid(heatmap.values)
    assert heatmap.values.shape == (2, 7, 10)
    assert np.isnan(heatmap.values).all()
    assert np.isnan(levels[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positive_class": "tumour"}, "positive class 'tumour': use one of 'benign', 'idc'"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"window": "box"}, "window 'box': use one of uniform, gaussian, hann"),
        ({"prob": np.ones((2, 3))}, r"scores \(2, 3\)"),
        ({"prob": np.full((2, 2), np.nan)}, "not a finite number"),
        ({"channels": {"raw": np.array([0.5, np.nan])}}, "channel raw .* 2 finite numbers"),
        ({"channels": {"raw": np.zeros(3)}}, "channel raw .* 2 finite numbers"),
        ({"indices": np.array([[0, 0], [7, 0]])}, "outside the grid"),
        ({"indices": np.array([[0, 0], [-1, 0]])}, "outside the grid"),
        ({"indices": np.array([[1, 1], [1, 1]])}, "two scores"),
    ],
)
def test_scores_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    given = {
        "indices": np.array([[0, 0], [0, 1]]),
        "prob": np.full((2, 2), 0.5),
        "classes": ("benign", "idc"),
        "positive_class": "idc",
        "threshold": 0.5,
    }
    with pytest.raises(InvalidOption, match=message):
        assemble(make_grid(), **(given | change))


def test_a_pyramid_level_is_the_mean_of_what_is_known_below_it() -> None:
    values = np.full((1, 257, 2), np.nan, np.float32)
    values[0, 0] = [0.1, np.nan]
    values[0, 1] = [0.2, 0.6]
    values[0, 256] = [0.9, np.nan]
    levels = pyramid(values)
    assert [level.shape for level in levels] == [(1, 257, 2), (1, 129, 1)]
    assert levels[0] is values
    assert levels[1][0, 0, 0] == pytest.approx(0.3)  # of 0.1, 0.2 and 0.6
    assert levels[1][0, 128, 0] == pytest.approx(0.9)  # an odd last row stands alone
    assert np.isnan(levels[1][0, 1:128]).all()


def test_every_pyramid_level_weights_each_known_cell_once() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((1100, 700), np.float32)
    values[rng.random(values.shape) < 0.7] = np.nan
    levels = pyramid(values)
    assert [level.shape for level in levels] == [(1100, 700), (550, 350), (275, 175), (138, 88)]
    for row, column in ((0, 0), (40, 31), (137, 87)):
        below = values[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert levels[3][row, column] == pytest.approx(np.nanmean(below), abs=1e-6)


def test_a_small_map_is_a_pyramid_of_one_level() -> None:
    assert len(pyramid(np.zeros((2, 256, 256), np.float32))) == 1
