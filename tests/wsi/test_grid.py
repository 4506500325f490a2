"""The grid's promises, for any slide, resolution and stride."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi.errors import InvalidGrid
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.grid import TileGrid, select_tiles, tissue_fractions
from wsi.mask import TissueMask

mpps = st.floats(0.1, 4.0)


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    size0 = Size(draw(st.integers(1, 200_000)), draw(st.integers(1, 200_000)))
    x, y = draw(st.integers(0, size0.width - 1)), draw(st.integers(0, size0.height - 1))
    width = draw(st.integers(1, size0.width - x))
    height = draw(st.integers(1, size0.height - y))
    tile_px = draw(st.integers(16, 512))
    return TileGrid.over(
        size0,
        Mpp(draw(mpps), draw(mpps)),
        tile_px=tile_px,
        mpp=draw(st.floats(4.0, 8.0)),
        stride_px=draw(st.integers(max(1, tile_px // 8), tile_px)),
        bounds0=Box(x, y, width, height),
    )


def make_grid(
    width: int = 1000,
    height: int = 800,
    *,
    slide_mpp: float = 1.0,
    tile_px: int = 50,
    mpp: float = 4.0,
    stride_px: int | None = None,
    bounds0: Box | None = None,
) -> TileGrid:
    return TileGrid.over(
        Size(width, height),
        Mpp(slide_mpp, slide_mpp),
        tile_px=tile_px,
        mpp=mpp,
        stride_px=stride_px,
        bounds0=bounds0,
    )


def axes(grid: TileGrid) -> list[tuple[NDArray[np.int64], NDArray[np.int64], int, int, float]]:
    """Starts, ends, low and high bound, tile size of each axis."""
    bounds0, tile0 = grid.bounds0, grid.tile0
    return [
        (grid.starts_x0, grid.ends_x0, bounds0.x, bounds0.right, tile0.x),
        (grid.starts_y0, grid.ends_y0, bounds0.y, bounds0.bottom, tile0.y),
    ]


@given(grids())
def test_tiles_cover_the_bounds_without_a_gap(grid: TileGrid):
    for starts, ends, low, high, _ in axes(grid):
        assert starts[0] == low
        assert ends[-1] >= high
        assert (starts[1:] <= ends[:-1]).all()


@given(grids())
def test_no_row_or_column_could_be_left_out(grid: TileGrid):
    for starts, ends, _, high, _ in axes(grid):
        assert (ends[:-1] < high).all()
        assert (starts < high).all()


@given(grids())
def test_starts_never_drift_from_the_exact_multiple(grid: TileGrid):
    stride0 = grid.stride_px * Fraction(grid.mpp) / Fraction(grid.slide_mpp.x)
    for column in (0, grid.shape[1] // 2, grid.shape[1] - 1):
        exact = grid.bounds0.x + column * stride0
        assert abs(int(grid.starts_x0[column]) - exact) <= Fraction(1, 2) + Fraction(1, 10**6)


@given(grids())
def test_every_tile_has_its_size_to_a_pixel(grid: TileGrid):
    for starts, ends, _, _, tile0 in axes(grid):
        assert (np.abs(ends - starts - tile0) <= 1 + 1e-6).all()
        assert (ends > starts).all()


@given(grids())
def test_without_overlap_neighbours_share_their_border(grid: TileGrid):
    apart = TileGrid(grid.size0, grid.slide_mpp, grid.tile_px, grid.mpp, grid.tile_px, grid.bounds0)
    for starts, ends, *_ in axes(apart):
        assert np.abs(starts[1:] - ends[:-1]).max(initial=0) == 0


@given(grids(), st.data())
def test_positions_on_level_0_lead_back_to_row_and_column(grid: TileGrid, data: st.DataObject):
    rows = data.draw(st.lists(st.integers(0, grid.shape[0] - 1), min_size=1, max_size=5))
    columns = data.draw(st.lists(st.integers(0, grid.shape[1] - 1), min_size=1, max_size=5))
    indices = np.array([(r, c) for r in rows for c in columns], np.int32)
    xy0 = grid.xy0_from_indices(indices)
    assert np.array_equal(grid.indices_from_xy0(xy0), indices)
    assert [grid.box0(*index)[:2] for index in indices.tolist()] == [tuple(p) for p in xy0.tolist()]


@given(grids())
def test_json_makes_the_same_grid_again(grid: TileGrid):
    assert TileGrid.from_json(grid.to_json()) == grid


def test_a_tile_of_50_px_at_4_um_is_800_px_of_a_slide_at_a_quarter_um():
    grid = make_grid(4000, 2400, slide_mpp=0.25)
    assert grid.shape == (3, 5)
    assert grid.starts_x0.tolist() == [0, 800, 1600, 2400, 3200]
    assert grid.box0(2, 4) == Box(3200, 1600, 800, 800)


def test_a_stride_of_12_and_a_half_pixels_rounds_halves_up():
    grid = make_grid(50, 50, slide_mpp=1.28, tile_px=16, mpp=1.0)
    assert grid.stride0 == Scale(12.5, 12.5)
    assert grid.starts_x0.tolist() == [0, 13, 25, 38]
    assert grid.ends_x0.tolist() == [13, 25, 38, 50]


def test_pixels_that_are_not_square_have_tiles_that_are_not_square():
    grid = TileGrid.over(Size(1000, 1000), Mpp(0.5, 0.25), tile_px=100, mpp=1.0)
    assert grid.box0(0, 1) == Box(200, 0, 200, 400)
    assert grid.shape == (3, 5)


def test_the_last_tile_reaches_over_the_edge_rather_than_being_dropped():
    grid = make_grid(401, 200)
    assert grid.shape == (1, 3)
    assert grid.box0(0, 2) == Box(400, 0, 200, 200)


def test_bounds_are_cut_to_the_slide():
    grid = make_grid(1000, 800, bounds0=Box(900, 700, 500, 500))
    assert grid.bounds0 == Box(900, 700, 100, 100)
    assert grid.shape == (1, 1)


def test_a_position_off_the_grid_is_refused():
    with pytest.raises(InvalidGrid, match="another one"):
        make_grid().indices_from_xy0(np.array([[0, 0], [201, 0]]))
    with pytest.raises(InvalidGrid, match="another one"):
        make_grid().indices_from_xy0(np.array([[1000, 0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile_px": 15}, "tile size 15"),
        ({"tile_px": 10**6}, "tile size 1000000 px: use 16 to 16384"),
        ({"stride_px": 0}, "stride 0"),
        ({"stride_px": 51}, "stride 51"),
        ({"mpp": math.nan}, "resolution nan"),
        ({"mpp": 352.8}, r"resolution 352\.8"),
        ({"bounds0": Box(1000, 0, 5, 5)}, "hold no pixel"),
        ({"stride_px": 1, "mpp": 0.5}, r"is 0\.5 px of the slide"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_with_its_value(options: dict[str, object], message: str):
    with pytest.raises(InvalidGrid, match=message):
        make_grid(**options)  # type: ignore[arg-type]


def make_mask(tissue: NDArray[np.bool_], px0: Scale) -> TissueMask:
    return TissueMask(tissue, mpp=8.0, px0=px0, method="user")


def brute_force_fraction(grid: TileGrid, mask: TissueMask, row: int, column: int) -> float:
    """Sum over the mask's pixels of what each has in common with the tile's part in bounds."""
    box = grid.box0(row, column).intersection(grid.bounds0)
    y, x = np.indices(mask.tissue.shape)
    px, py = mask.px0
    wide = np.minimum((x + 1) * px, box.right) - np.maximum(x * px, box.x)
    high = np.minimum((y + 1) * py, box.bottom) - np.maximum(y * py, box.y)
    common = np.maximum(wide, 0) * np.maximum(high, 0)
    return float(common[mask.tissue].sum() / (box.width * box.height))


@given(st.integers(0, 2**32), st.floats(7, 40), st.floats(7, 40), st.integers(7, 50))
def test_tissue_fractions_are_exact_areas(seed: int, px0_x: float, px0_y: float, stride_px: int):
    rng = np.random.default_rng(seed)
    grid = make_grid(
        300, 230, tile_px=50, mpp=1.3, stride_px=stride_px, bounds0=Box(11, 23, 271, 190)
    )
    shape = (math.ceil(230 / px0_y), math.ceil(300 / px0_x))
    mask = make_mask(rng.random(shape) < 0.4, Scale(px0_x, px0_y))
    fractions = tissue_fractions(grid, mask)
    assert fractions.shape == grid.shape
    for row, column in rng.integers(0, grid.shape, (4, 2)).tolist():
        expected = brute_force_fraction(grid, mask, row, column)
        assert fractions[row, column] == pytest.approx(expected, abs=1e-6)


def test_an_edge_tile_is_measured_on_its_part_inside():
    mask = make_mask(np.ones((10, 26), bool), Scale(10, 10))
    assert tissue_fractions(make_grid(251, 100, mpp=2.0), mask).tolist() == [[1, 1, 1]]


def test_tiles_are_selected_from_the_least_fraction_on():
    tissue = np.zeros((10, 30), bool)
    tissue[:, 10:12] = True  # a fifth of the second tile
    tissue[:, 20:21] = True  # a tenth of the third
    grid = make_grid(300, 100, mpp=2.0)
    mask = make_mask(tissue, Scale(10, 10))
    assert select_tiles(grid, mask, 0.2).tolist() == [[0, 1]]
    assert select_tiles(grid, mask, 0.1).tolist() == [[0, 1], [0, 2]]
    assert select_tiles(grid, mask, 0.21).tolist() == []


@given(st.integers(0, 2**32))
def test_without_a_least_fraction_tiles_that_hold_no_tissue_are_still_left_out(seed: int):
    tissue = np.random.default_rng(seed).random((120, 60)) < 0.9
    tissue[:, 30:] = False
    grid = make_grid(6000, 12_000, slide_mpp=0.77)
    selected = select_tiles(grid, make_mask(tissue, Scale(100, 100)), 0)
    assert grid.starts_x0[selected[:, 1]].max() < 3000
    assert selected.dtype == np.int32


def test_a_least_fraction_above_1_is_refused():
    mask = make_mask(np.ones((2, 2), bool), Scale(500, 500))
    with pytest.raises(InvalidGrid, match=r"1\.5"):
        select_tiles(make_grid(), mask, 1.5)


def test_too_many_tiles_are_refused_before_their_tissue_is_measured():
    mask = TissueMask(np.ones((10, 10), np.bool_), 2500.0, Scale(10_000, 10_000), "none")
    grid = make_grid(100_000, 100_000, slide_mpp=0.25, stride_px=1)  # 16 px of level 0 apart
    with pytest.raises(InvalidGrid, match=r"stride 1 px .* 6201 x 6201 tiles \(limit 20 million"):
        select_tiles(grid, mask)
