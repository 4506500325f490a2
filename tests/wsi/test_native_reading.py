"""Tiles out of a file's own tiles: each decoded once, and shrunk to the same pixels."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.wsi.readers.tiffs import make_pixels, write_pyramid
from wsi.errors import InvalidOption
from wsi.geometry import Box, Mpp, Size
from wsi.grid import TileGrid
from wsi.readers import open_slide, tiffblocks
from wsi.readers.array import ArraySlide
from wsi.readers.base import read_shrunk
from wsi.readers.kept import KeptLevel
from wsi.readers.tiffdecode import BlockDecoder
from wsi.slide import Slide
from wsi.tiler import TilePlan, plan_tiles, read_tiles
from wsi.tiler.batches import Batches
from wsi.tiler.plan import Piece
from wsi.tiler.straddler import Straddlers

CONTRACTS = [
    (64, 64, 1.0),  # each tile is 2 x 2 native tiles
    (64, 32, 1.0),  # overlapping by half, from whole native tiles
    (50, 25, 1.0),  # overlapping, across native tiles
    (50, 50, 0.5),  # pixels as they are
    (48, 24, 0.7),  # fractions of pixels
    (16, 16, 4.0),  # cells of 8 px
]
"""Tile px, stride px and um/px, of slides with 0.5 um/px and native tiles of 64 px."""


def plan_of(slide: Slide, tile_px: int, stride_px: int, mpp: float, part: float = 1.0) -> TilePlan:
    """Of all tiles, or of a random part of them."""
    grid = TileGrid.over(
        slide.info.size, Mpp(0.5, 0.5), tile_px=tile_px, mpp=mpp, stride_px=stride_px
    )
    chosen = np.random.default_rng(3).random(grid.shape) < part
    return plan_tiles(slide.info, grid, np.argwhere(chosen))


def all_tiles(slide: Slide, plan: TilePlan, **options: Any) -> NDArray[np.uint8]:
    return np.concatenate([b.rgb for b in read_tiles(slide, plan, batch_size=9, **options)])


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("part", [1.0, 0.1])
def test_each_native_tile_that_a_tile_needs_is_decoded_once_and_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contract: tuple[int, int, float],
    part: float,
):
    decoded: Counter[bytes] = Counter()
    real = tiffblocks.block_decoder

    def counting(ifd: Any) -> BlockDecoder:
        decode = real(ifd)

        def count(data: Any, *arguments: Any) -> NDArray[Any]:
            decoded[bytes(data)] += 1
            return decode(data, *arguments)

        return count

    monkeypatch.setattr(tiffblocks, "block_decoder", counting)
    write_pyramid(tmp_path / "a.tif", [(1500, 1300)], compression="zlib")
    read: list[int] = []
    with open_slide(tmp_path / "a.tif", reader="tiff") as slide:
        plan = plan_of(slide, *contract, part)
        all_tiles(slide, plan, workers=3, on_read=read.append)
    assert set(decoded.values()) == {1}  # noise: no two native tiles are the same
    assert len(decoded) == sum(read) == plan.native_tiles
    assert part == 1.0 or plan.native_tiles < 24 * 21


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("size", [(1500, 1300), (1409, 1091)])
def test_a_reader_that_shrinks_gives_the_pixels_of_one_that_does_not(
    tmp_path: Path, contract: tuple[int, int, float], size: tuple[int, int]
):
    levels = write_pyramid(tmp_path / "a.tif", [size], compression="zlib")
    plain = ArraySlide(levels, Mpp(0.5, 0.5), tile=Size(64, 64))
    with open_slide(tmp_path / "a.tif", reader="tiff") as slide:
        kept = KeptLevel(open_slide(tmp_path / "a.tif", reader="tiff"), 0)
        plan = plan_of(slide, *contract)
        expected = all_tiles(plain, plan)
        np.testing.assert_array_equal(all_tiles(slide, plan), expected)
        np.testing.assert_array_equal(all_tiles(kept, plan), expected)
        kept.close()


@pytest.mark.parametrize(("box", "cell"), [
    (Box(0, 0, 128, 64), 2),  # whole native tiles
    (Box(30, 50, 60, 100), 2),  # cut ones
    (Box(31, 7, 60, 100), 4),  # cells that lie in two native tiles
    (Box(0, 0, 60, 60), 3),  # cells that no native tile has a whole number of
    (Box(160, 100, 40, 50), 1),  # to the picture's end
    (Box(160, 100, 40, 50), 10),
])  # fmt: skip
def test_a_box_is_shrunk_to_the_mean_of_each_cell(tmp_path: Path, box: Box, cell: int):
    (pixels,) = write_pyramid(tmp_path / "a.tif", [(200, 150)], compression="zlib")
    sheet = np.zeros((box.height // cell + 2, box.width // cell + 3, 3), np.uint8)
    with open_slide(tmp_path / "a.tif", reader="tiff") as slide:
        read_shrunk(slide, 0, box, sheet[1:-1, 1:-2])
    part = pixels[box.y : box.bottom, box.x : box.right].astype(float)
    mean = part.reshape(box.height // cell, cell, box.width // cell, cell, 3).mean((1, 3))
    assert np.abs(sheet[1:-1, 1:-2] - mean).max() <= 0.5
    assert not sheet[0].any()
    assert not sheet[:, -2:].any()


@pytest.mark.parametrize("box", [Box(150, 0, 64, 64), Box(-2, 0, 4, 4), Box(0, 0, 0, 4)])
def test_what_is_not_inside_the_level_is_not_shrunk(tmp_path: Path, box: Box):
    write_pyramid(tmp_path / "a.tif", [(200, 150)])
    out = np.empty((box.height // 2, box.width // 2, 3), np.uint8)
    with (
        open_slide(tmp_path / "a.tif", reader="tiff") as slide,
        pytest.raises(InvalidOption, match="not inside level 0"),
    ):
        read_shrunk(slide, 0, box, out)


@pytest.mark.parametrize("contract", [(700, 700, 0.7), (600, 600, 1.0), (1100, 1100, 0.5)])
def test_the_pieces_of_a_tile_may_come_in_any_order(contract: tuple[int, int, float]):
    slide = ArraySlide([make_pixels(2900, 2700)], Mpp(0.5, 0.5), tile=Size(64, 64))
    plan = plan_of(slide, *contract)
    expected = all_tiles(slide, plan, workers=1)
    pieces: list[Piece] = [p for b in plan.blocks(slice(None)) for p in plan.pieces(b)]
    straddling = [piece for piece in pieces if not piece.is_all]
    np.random.default_rng(5).shuffle(straddling)  # type: ignore[arg-type]
    straddlers, made = Straddlers(plan, slide.info.background), 0
    for piece in straddling:
        box, cell = piece.box, plan.cell if piece.in_cells else 1
        out = np.empty((box.height // cell, box.width // cell, 3), np.uint8)
        read_shrunk(slide, 0, box, out)
        tile = straddlers.add(piece, out)
        if not piece.in_cells:
            out[:] = 0  # the reader's memory is used again
        if tile is not None:
            made += 1
            room = np.empty_like(expected[0])
            tile.finish(room)
            np.testing.assert_array_equal(room, expected[piece.position])
    assert made == len({piece.position for piece in straddling}) > 0


def test_whole_tiles_side_by_side_are_one_piece_across_batches():
    slide = ArraySlide([make_pixels(512, 256)], Mpp(0.5, 0.5), tile=Size(128, 128))
    grid = TileGrid.over(slide.info.size, Mpp(0.5, 0.5), tile_px=50, mpp=1.0)
    indices = [(0, 0), (0, 1), (0, 2), (0, 4), (1, 0), (1, 1)]  # of five columns of 100 px
    plan = plan_tiles(slide.info, grid, np.array(indices))
    (block,) = plan.blocks(slice(None))
    runs = [(piece.position, piece.tiles, piece.box) for piece in plan.pieces(block)]
    assert runs == [
        (0, 3, Box(0, 0, 300, 100)), (3, 1, Box(400, 0, 100, 100)), (4, 2, Box(0, 100, 200, 100)),
    ]  # fmt: skip
    read = np.concatenate([b.rgb for b in read_tiles(slide, plan, batch_size=2)])
    for tile, (row, column) in zip(read, indices, strict=True):
        box = Box(100 * column, 100 * row, 100, 100)
        mean = slide.read_level(0, box).astype(float).reshape(50, 2, 50, 2, 3).mean((1, 3))
        assert np.abs(tile - mean).max() <= 0.5


def test_memory_of_a_batch_is_used_again_once_nobody_holds_it():
    batches = Batches(0, 6, 2, 16)
    batches.room_for(0)[:] = 7
    first = batches.take(0)
    where, row = first.rgb.ctypes.data, first.rgb[1, 3:5]
    del first
    batches.room_for(2)
    second = batches.take(2)
    assert second.rgb.ctypes.data != where  # `row` is still held
    del row
    batches.room_for(4)
    assert batches.take(4).rgb.ctypes.data == where
