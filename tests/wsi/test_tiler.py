"""The tiler against a float64 area average that knows nothing of levels, blocks or threads."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, InvalidGrid, SlideTooCoarse, StoreIncomplete
from wsi.geometry import Box, Mpp, Size
from wsi.grid import TileGrid
from wsi.readers.array import ArraySlide
from wsi.slide import RGB, WHITE
from wsi.store import TileStore
from wsi.tiler import TileBatch, TilePlan, plan_tiles, read_tiles, write_tiles

PINK: RGB = (230, 120, 180)
SQUARE = Mpp(1.0, 1.0)


class CountingSlide(ArraySlide):
    """Counts how often each native tile is read, as a file that decodes it whole would."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decoded: Counter[tuple[int, int, int]] = Counter()
        self._lock = threading.Lock()

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        tile = self.info.levels[level].tile
        with self._lock:
            for row in range(box.y // tile.height, -(-box.bottom // tile.height)):
                for column in range(box.x // tile.width, -(-box.right // tile.width)):
                    self.decoded[level, row, column] += 1
        return super().read_level(level, box)


def make_slide(
    width: int = 700,
    height: int = 500,
    *,
    mpp: Mpp = SQUARE,
    factors: tuple[int, ...] = (1,),
    tile: int = 64,
    background: RGB = WHITE,
    bounds: Box | None = None,
    seed: int = 0,
) -> CountingSlide:
    rng = np.random.default_rng(seed)
    levels = [rng.integers(0, 256, (height // f, width // f, 3), dtype=np.uint8) for f in factors]
    return CountingSlide(levels, mpp, background=background, bounds=bounds, tile=Size(tile, tile))


def make_grid(
    slide: ArraySlide, tile_px: int, mpp: float, stride_px: int | None = None
) -> TileGrid:
    assert slide.info.mpp is not None
    return TileGrid.over(
        slide.info.size,
        slide.info.mpp,
        tile_px=tile_px,
        mpp=mpp,
        stride_px=stride_px,
        bounds0=slide.info.bounds,
    )


def every_index(grid: TileGrid) -> NDArray[np.int32]:
    return np.argwhere(np.ones(grid.shape, bool)).astype(np.int32)


def collect(slide: ArraySlide, plan: TilePlan, **options: Any) -> NDArray[np.uint8]:
    batches = list(read_tiles(slide, plan, **{"batch_size": 7, "workers": 2, **options}))
    return np.concatenate([batch.rgb for batch in batches])


def overlaps(
    start: int, stop: int, parts: int, downsample: float, length: int, edge0: int
) -> NDArray[np.float64]:
    """(parts, length): share of each part of [start, stop), level-0 px, that each pixel covers."""
    edges, edge = np.linspace(start, stop, parts + 1) / downsample, edge0 / downsample
    low = np.arange(length, dtype=float)
    high = np.minimum(np.append(low[1:], max(length, edge)), edge)
    covered = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    return np.maximum(covered, 0) / np.diff(edges)[:, None]


def reference(
    slide: ArraySlide, pixels: NDArray[np.uint8], plan: TilePlan, row: int, column: int
) -> NDArray[np.float64]:
    """The tile as float64, from the pixels of the whole level."""
    grid, scale = plan.grid, slide.info.levels[plan.level].downsample
    box, bounds0 = grid.box0(row, column), grid.bounds0
    height, width = pixels.shape[:2]
    down = overlaps(box.y, box.bottom, grid.tile_px, scale.y, height, bounds0.bottom)
    across = overlaps(box.x, box.right, grid.tile_px, scale.x, width, bounds0.right)
    rows, columns = down.any(axis=0), across.any(axis=0)
    used = pixels[rows][:, columns].astype(float)
    half = np.tensordot(down[:, rows], used, axes=(1, 0))
    inside = np.tensordot(half, across[:, columns], axes=(1, 1)).transpose(0, 2, 1)
    outside = 1 - np.multiply.outer(down.sum(axis=1), across.sum(axis=1))
    return inside + outside[..., None] * np.array(slide.info.background, float)


def worst_difference(slide: ArraySlide, plan: TilePlan) -> float:
    pixels = slide.read_level(plan.level, Box(0, 0, *slide.info.levels[plan.level].size))
    worst = 0.0
    for tile, (row, column) in zip(collect(slide, plan), plan.indices.tolist(), strict=True):
        expected = reference(slide, pixels, plan, row, column)
        worst = max(worst, float(np.abs(tile - expected).max()))
    return worst


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.5, 1.4, 16.0, 0.97])
@pytest.mark.parametrize("stride_px", [16, 11])
def test_tiles_are_the_area_average_to_a_grey_level(ratio: float, stride_px: int):
    slide = make_slide(tile=64, background=PINK)
    grid = make_grid(slide, 16, ratio, stride_px)
    indices = every_index(grid)[:: max(1, len(every_index(grid)) // 60)]
    assert worst_difference(slide, plan_tiles(slide.info, grid, indices)) <= 1


@pytest.mark.parametrize(("tile_px", "mpp"), [(100, 1.0), (70, 1.4), (40, 2.83), (100, 0.97)])
def test_tiles_that_straddle_blocks_are_put_together_exactly(tile_px: int, mpp: float):
    slide = make_slide(1300, 1200, background=PINK)
    grid = make_grid(slide, tile_px, mpp)
    whole = plan_tiles(slide.info, grid, every_index(grid))
    row, column = whole.indices.T
    straddles = (whole.rows.first_block[row] < whole.rows.last_block[row]) | (
        whole.columns.first_block[column] < whole.columns.last_block[column]
    )
    assert straddles.sum() >= 20
    assert worst_difference(slide, plan_tiles(slide.info, grid, whole.indices[straddles])) <= 1


def test_a_level_that_is_not_quite_the_target_is_averaged_at_fractions_of_its_pixels():
    slide = make_slide(3203, 1604, mpp=Mpp(0.2503, 0.2503), factors=(1, 4, 16))
    plan = plan_tiles(slide.info, grid := make_grid(slide, 50, 4.0), every_index(grid))
    assert plan.level == 2
    assert worst_difference(slide, plan) <= 1


def test_pixels_that_are_not_square_are_averaged_on_each_axis_by_its_own_factor():
    slide = make_slide(mpp=Mpp(0.5, 0.7), bounds=Box(33, 21, 600, 411))
    plan = plan_tiles(slide.info, grid := make_grid(slide, 24, 1.0), every_index(grid))
    assert worst_difference(slide, plan) <= 1


def test_bounds_cut_tiles_like_the_edge_of_the_slide_does():
    slide = make_slide(200, 200, bounds=Box(50, 40, 70, 60), background=(10, 200, 30))
    plan = plan_tiles(slide.info, grid := make_grid(slide, 40, 1.0), every_index(grid))
    tiles = collect(slide, plan)
    assert plan.xy0.tolist() == [[50, 40], [90, 40], [50, 80], [90, 80]]
    assert (tiles[1][:, 30:] == (10, 200, 30)).all()
    assert (tiles[2][20:] == (10, 200, 30)).all()
    whole = slide.read_level(0, Box(0, 0, 200, 200))
    assert np.array_equal(tiles[3][:20, :30], whole[80:100, 90:120])


def test_an_edge_tile_half_outside_is_half_background_when_shrunk():
    level = np.zeros((40, 30, 3), np.uint8)
    slide = ArraySlide([level], Mpp(1, 1), background=(200, 100, 50))
    grid = make_grid(slide, 20, 2.0)
    (tile,) = collect(slide, plan_tiles(slide.info, grid, np.array([[0, 0]])))
    assert (tile[:, :15] == 0).all()
    assert (tile[:, 15:] == (200, 100, 50)).all()


def test_a_level_that_was_cut_short_reaches_to_the_edge_of_the_slide():
    levels = [np.full((66, 66, 3), 90, np.uint8), np.full((16, 16, 3), 90, np.uint8)]
    slide = ArraySlide(levels, Mpp(1, 1))
    grid = make_grid(slide, 16, 4.0, 16)  # second column: from 64 to 128, two level-0 px inside
    plan = plan_tiles(slide.info, grid, np.array([[0, 1]]))
    (tile,) = collect(slide, plan)
    assert plan.level == 1
    assert tile[0, :2].tolist() == [[173, 173, 173], [255, 255, 255]]  # half 90, half 255: 172.5


@pytest.mark.parametrize(("tile_px", "stride_px", "mpp"), [(32, 32, 1.0), (48, 16, 1.4)])
def test_each_needed_native_tile_is_read_once_and_no_other(
    tile_px: int, stride_px: int, mpp: float
):
    slide = make_slide(2600, 2300, tile=64)
    grid = make_grid(slide, tile_px, mpp, stride_px)
    indices = every_index(grid)
    chosen = np.random.default_rng(1).random(len(indices)) < 0.02
    plan = plan_tiles(slide.info, grid, indices[chosen])
    slide.decoded.clear()
    collect(slide, plan)
    touched = {
        (0, row, column)
        for box in (plan.box(*index) for index in plan.indices.tolist())
        for row in range(box.y // 64, (box.bottom - 1) // 64 + 1)
        for column in range(box.x // 64, (box.right - 1) // 64 + 1)
    }
    assert set(slide.decoded) == touched
    assert set(slide.decoded.values()) == {1}
    assert plan.native_tiles == len(touched) < 41 * 36


def test_the_order_of_tiles_is_fixed_before_reading_and_any_tile_can_be_the_first():
    slide = make_slide(2300, 2100)
    grid = make_grid(slide, 48, 1.4)
    shuffled = np.random.default_rng(2).permutation(every_index(grid))
    plan = plan_tiles(slide.info, grid, shuffled)
    again = plan_tiles(slide.info, grid, every_index(grid))
    whole = collect(slide, plan)
    assert np.array_equal(plan.indices, again.indices)
    for first, stop in ((0, 1), (501, 777), (len(plan) - 3, len(plan))):
        assert np.array_equal(collect(slide, plan, first=first, stop=stop), whole[first:stop])


def test_tiles_are_the_same_for_any_number_of_threads_and_size_of_batch():
    slide = make_slide(2300, 1100)
    plan = plan_tiles(slide.info, grid := make_grid(slide, 40, 1.3, 29), every_index(grid))
    alone = collect(slide, plan, workers=1, batch_size=1000)
    assert np.array_equal(alone, collect(slide, plan, workers=5, batch_size=3))


def test_batches_follow_each_other_and_the_last_holds_the_rest():
    slide = make_slide(160, 160)
    plan = plan_tiles(slide.info, grid := make_grid(slide, 16, 1.0), every_index(grid))
    batches = list(read_tiles(slide, plan, batch_size=32, first=10))
    assert [(b.start, len(b)) for b in batches] == [(10, 32), (42, 32), (74, 26)]


def test_a_plan_without_tiles_gives_no_batch():
    slide = make_slide()
    plan = plan_tiles(slide.info, make_grid(slide, 16, 1.0), np.empty((0, 2), np.int32))
    assert list(read_tiles(slide, plan, batch_size=4)) == []
    assert plan.native_tiles == 0


def test_a_slide_stored_in_strips_is_read_in_low_blocks_of_its_whole_width():
    rng = np.random.default_rng(3)
    level = rng.integers(0, 256, (900, 5000, 3), dtype=np.uint8)
    slide = ArraySlide([level], Mpp(1, 1), tile=Size(5000, 8))
    plan = plan_tiles(slide.info, grid := make_grid(slide, 100, 1.0), every_index(grid))
    assert plan.rows.block == 208  # about 2**20 px of 5000
    assert np.array_equal(collect(slide, plan)[0], level[:100, :100])


def test_a_slide_coarser_than_the_tiles_is_refused_unless_upsampling_is_asked_for():
    slide = make_slide(mpp=Mpp(1.3, 1.3))
    grid = make_grid(slide, 26, 1.0)
    with pytest.raises(SlideTooCoarse, match=r"1\.3 um/px, the tiles need 1"):
        plan_tiles(slide.info, grid, every_index(grid))
    plan = plan_tiles(slide.info, grid, np.array([[1, 1]]), allow_upsampling=True)
    (tile,) = collect(slide, plan)
    assert tile.shape == (26, 26, 3)


def test_upsampling_interpolates_between_pixel_centres_across_blocks():
    ramp = np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], 128, 0).repeat(3, 2)
    slide = ArraySlide([ramp], Mpp(2, 2), tile=Size(16, 16))
    grid = make_grid(slide, 64, 1.0)  # factor 2: a tile shows 32 px, values rise by 1 a tile px
    plan = plan_tiles(slide.info, grid, np.array([[1, 1]]), allow_upsampling=True)
    (tile,) = collect(slide, plan)
    # centre of output px j: 32 + (j + 0.5) / 2 px; the ramp there is 2 * (centre - 0.5)
    expected = 2 * (32 + (np.arange(64) + 0.5) / 2 - 0.5)
    assert np.abs(tile[5, :, 0] - expected).max() <= 0.5


def test_a_grid_of_another_slide_is_refused():
    grid = make_grid(make_slide(width=701), 16, 1.0)
    with pytest.raises(InvalidGrid, match="700"):
        plan_tiles(make_slide().info, grid, every_index(grid))


class BrokenSlide(CountingSlide):
    """Fails at the third read."""

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        if sum(self.decoded.values()) >= 2 * 256:
            raise CorruptSlide("tile 3 cannot be decoded")
        return super().read_level(level, box)


def tiler_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("tiler")]


def test_an_error_while_reading_reaches_the_caller_and_ends_the_threads():
    levels = [np.zeros((3000, 3000, 3), np.uint8)]
    slide = BrokenSlide(levels, Mpp(1, 1), tile=Size(64, 64))
    plan = plan_tiles(slide.info, grid := make_grid(slide, 64, 1.0), every_index(grid))
    with pytest.raises(CorruptSlide, match="tile 3"):
        collect(slide, plan)
    assert tiler_threads() == []


def test_closing_the_iterator_ends_the_threads_and_the_reading():
    slide = make_slide(3000, 3000)
    plan = plan_tiles(slide.info, grid := make_grid(slide, 64, 1.0), every_index(grid))
    batches = read_tiles(slide, plan, batch_size=8, workers=2)
    next(batches)
    batches.close()
    assert tiler_threads() == []
    assert sum(slide.decoded.values()) <= 4 * 16 * 16  # one block used, three read ahead


def test_should_stop_ends_the_batches_and_leaves_a_store_that_goes_on(tmp_path: Path):
    slide = make_slide(2048, 2048)
    plan = plan_tiles(slide.info, grid := make_grid(slide, 128, 1.0), every_index(grid))
    answers = iter([False, True])
    path = tmp_path / "tiles.zarr"
    with pytest.raises(StoreIncomplete, match="it goes on where it was"):
        write_tiles(slide, plan, path, {"slide": "a"}, should_stop=lambda: next(answers))
    write_tiles(slide, plan, path, {"slide": "a"})
    assert np.array_equal(TileStore.open(path).read(0, len(plan)), collect(slide, plan))


def test_a_tile_store_holds_the_tiles_of_the_plan_and_where_they_lie(tmp_path: Path):
    slide = make_slide()
    plan = plan_tiles(slide.info, grid := make_grid(slide, 50, 1.4), every_index(grid))
    write_tiles(slide, plan, tmp_path / "tiles.zarr", {"slide": "a"})
    store = TileStore.open(tmp_path / "tiles.zarr")
    assert np.array_equal(store.read(0, len(store)), collect(slide, plan))
    assert np.array_equal(store.xy0, plan.xy0)
    assert TileGrid.from_json(store.made_from["grid"]) == grid


def test_a_batch_is_as_long_as_its_tiles():
    assert len(TileBatch(np.zeros((3, 16, 16, 3), np.uint8), 0)) == 3


@pytest.mark.real_data
def test_tiles_of_a_real_slide_at_its_own_resolution_are_openslides_pixels(real_data: Path):
    import openslide

    from wsi.readers import open_slide

    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    with open_slide(path) as slide, openslide.OpenSlide(path) as referee:
        grid = make_grid(slide, 100, 0.499)
        plan = plan_tiles(slide.info, grid, np.array([[0, 0], [10, 10], [13, 21], [28, 7]]))
        for tile, (x0, y0) in zip(collect(slide, plan), plan.xy0.tolist(), strict=True):
            expected = np.asarray(referee.read_region((x0, y0), 0, (100, 100)))[..., :3]
            assert np.array_equal(tile, expected)


def test_large_tiles_are_written_a_shard_at_a_time(tmp_path: Path):
    slide = make_slide(4096, 4096, tile=512)
    plan = plan_tiles(slide.info, grid := make_grid(slide, 2048, 1.0), every_index(grid))
    written: list[int] = []
    write_tiles(slide, plan, tmp_path / "tiles.zarr", {}, on_progress=written.append)
    assert written == [2, 2]  # of 12 MiB each, where a shard has 32
