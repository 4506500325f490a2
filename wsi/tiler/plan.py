"""Which tiles are read from which level, in which order, by which blocks of native tiles.

Arithmetic only. Blocks are read row by row; a tile comes out when the last block that it touches
has been read. So the order is known before anything is read, and any tile can be the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidGrid, SlideTooCoarse
from wsi.geometry import Box, Mpp, Size, round_half_up
from wsi.grid import TileGrid
from wsi.overview import pick_level
from wsi.slide import SlideInfo
from wsi.tiler.axis import AxisPlan

__all__ = ["Block", "Piece", "TilePlan", "plan_tiles", "require_detail"]

MAX_ENLARGEMENT = 1.25
"""Level 0 may be this much coarser than the tiles without anybody being asked."""

BLOCK_PX = 2048
"""Side of a block, about: many native tiles, so that few tiles straddle blocks and what a block
costs beside them counts little; 12 MB, or a quarter where four pixels are read as one."""

LEAST_BLOCKS = 8  # of a level, where its blocks are that large: else there is too little to share


@dataclass(frozen=True)
class Block:
    """Some native tiles that are read as one."""

    box: Box  # px of the level; at the edge it may reach beyond it
    reads: tuple[Box, ...]  # the native tiles in it that are needed, px of the level
    native_tiles: int  # in those
    positions: NDArray[np.int32]  # places in the plan of the tiles that touch it, ascending
    finished: int  # how many of them have no pixel in a later block
    cell: int  # px of the level, along both axes, that may be read as one


class Piece(NamedTuple):
    """What one block has of one tile, or of several whole ones side by side."""

    position: int  # of the tile in the plan; the others follow it there
    row: int  # in the grid
    column: int
    box: Box  # px of the level, of all of them together
    tiles: int
    is_all: bool  # of what the tile needs
    in_row: bool  # what else it needs lies in the same row of blocks
    in_cells: bool  # of plan.cell px a side, of which each is a pixel of the tile


class _Touched(NamedTuple):
    """A block by the tiles that touch it."""

    row: int  # counted in blocks
    column: int
    finished: int
    in_cells: bool  # all of them
    positions: NDArray[np.int32]


@dataclass(frozen=True)
class TilePlan:
    """Which tiles are read, from what, and in which order. Depends on nothing but its arguments."""

    grid: TileGrid
    level: int
    indices: NDArray[np.int32]  # (n, 2) row and column in the grid, in the order of reading
    rows: AxisPlan
    columns: AxisPlan

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def xy0(self) -> NDArray[np.int64]:
        """(n, 2): top left of each tile on level 0, in the order of reading."""
        return self.grid.xy0_from_indices(self.indices)

    @property
    def native_tiles(self) -> int:
        """How many native tiles of the file the tiles touch: each is decoded once."""
        return self.count_native(slice(None))

    def count_native(self, part: slice) -> int:
        """The same of a part of the plan."""
        return int(self._needed(part).sum())

    @cached_property
    def cell(self) -> int:
        """Pixels of the level for one of a tile along both axes, to a whole number."""
        return round_half_up((self.columns.stop[0] - self.columns.start[0]) / self.grid.tile_px)

    @cached_property
    def _in_cells(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each row, and of each column."""
        tile_px = self.grid.tile_px
        return self.rows.in_cells(self.cell, tile_px), self.columns.in_cells(self.cell, tile_px)

    def box(self, row: int, column: int) -> Box:
        """The pixels of the level that a tile needs."""
        x, y = int(self.columns.first[column]), int(self.rows.first[row])
        return Box(x, y, int(self.columns.last[column]) - x, int(self.rows.last[row]) - y)

    def blocks(self, part: slice) -> Iterator[Block]:
        """The blocks that hold needed native tiles, row by row, with the tiles that touch them."""
        needed = self._needed(part)
        per_row = self.rows.block // self.rows.native
        per_column = self.columns.block // self.columns.native
        for touched in self._touched(part):
            top, left = touched.row * per_row, touched.column * per_column
            inside = needed[top : top + per_row, left : left + per_column]
            reads = [self._native_box(Box(left + b.x, top + b.y, *b[2:])) for b in _boxes(inside)]
            wide, high = self.columns.block, self.rows.block
            yield Block(
                Box(touched.column * wide, touched.row * high, wide, high),
                tuple(reads),
                int(inside.sum()),
                touched.positions,
                touched.finished,
                self.cell if touched.in_cells else 1,
            )

    def pieces(self, block: Block) -> list[Piece]:
        """What a block has of the tiles that touch it, in the order of the plan.

        Whole tiles side by side are one piece where the block is read in their cells.
        """
        rows, columns = self.indices[block.positions].T
        top, left = self.rows.first[rows], self.columns.first[columns]
        bottom, right = self.rows.last[rows], self.columns.last[columns]
        y, x = np.maximum(top, block.box.y), np.maximum(left, block.box.x)
        high = np.minimum(bottom, block.box.bottom) - y
        wide = np.minimum(right, block.box.right) - x
        in_row = high == bottom - top
        is_all = in_row & (wide == right - left)
        in_cells = self._in_cells[0][rows] & self._in_cells[1][columns]
        is_plain = is_all & in_cells & (block.cell == self.cell)
        heads, count = _runs(is_plain, block.positions, rows, x, wide)
        claims = is_all[heads], in_row[heads], in_cells[heads]
        numbers = (x[heads], y[heads], wide[heads] * count, high[heads], count)
        first = (block.positions[heads], rows[heads], columns[heads])
        return [
            Piece(position, row, column, Box(left, top, width, height), *others)
            for position, row, column, left, top, width, height, *others in zip(
                *(fact.tolist() for fact in (*first, *numbers, *claims)), strict=True
            )
        ]

    def _needed(self, part: slice) -> NDArray[np.bool_]:
        """Native tiles of the level that tiles of `part` touch: (tile rows, tile columns)."""
        rows, columns = self.indices[part].T
        top, bottom = self.rows.first[rows], self.rows.last[rows]
        left, right = self.columns.first[columns], self.columns.last[columns]
        top, bottom = top // self.rows.native, (bottom - 1) // self.rows.native + 1
        left, right = left // self.columns.native, (right - 1) // self.columns.native + 1
        shape = (-(-axis.length // axis.native) + 1 for axis in (self.rows, self.columns))
        corners = np.zeros(tuple(shape), np.int32)
        for y, x, sign in (
            (top, left, 1),
            (bottom, right, 1),
            (top, right, -1),
            (bottom, left, -1),
        ):
            np.add.at(corners, (y, x), sign)
        return (corners.cumsum(0).cumsum(1) > 0)[:-1, :-1]

    def _touched(self, part: slice) -> Iterator["_Touched"]:
        """Block by block, those that tiles of `part` touch."""
        facts, position, starts = self._facts_by_block(*self._touches(part))
        groups = np.split(position, starts[1:]) if len(starts) else []
        yield from map(_Touched, *(fact.tolist() for fact in facts), groups)

    def _facts_by_block(
        self,
        block_row: NDArray[np.int32],
        block_column: NDArray[np.int32],
        position: NDArray[np.int32],
    ) -> tuple[tuple[NDArray[Any], ...], NDArray[np.int32], NDArray[np.int64]]:
        """The first fields of _Touched, a block each; `position`; and where in it blocks start.

        A function of its own, for what it needs on the way is 10 MB on a large slide.
        """
        if not len(position):
            return (position,) * 4, position, np.empty(0, np.int64)
        starts = np.flatnonzero(
            (np.diff(block_row, prepend=-1) != 0) | (np.diff(block_column, prepend=-1) != 0)
        )
        rows, columns = self.indices[position].T
        ends_row = self.rows.last_block[rows] == block_row
        ends_here = ends_row & (self.columns.last_block[columns] == block_column)
        in_cells = self._in_cells[0][rows] & self._in_cells[1][columns]
        facts = (
            block_row[starts],
            block_column[starts],
            np.add.reduceat(ends_here, starts, dtype=np.int64),
            np.logical_and.reduceat(in_cells, starts),
        )
        return facts, position, starts

    def _touches(
        self, part: slice
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Block rows, block columns and places in the plan, of each tile for each block that it
        touches; sorted by them."""
        rows, columns = self.indices[part].T
        positions = np.arange(len(self), dtype=np.int32)[part]
        top, bottom = self.rows.first_block[rows], self.rows.last_block[rows]
        left, right = self.columns.first_block[columns], self.columns.last_block[columns]
        touched = [np.empty((3, 0), np.int32)]
        for down in range(int((bottom - top).max(initial=-1)) + 1):
            for across in range(int((right - left).max(initial=-1)) + 1):
                at = (top + down <= bottom) & (left + across <= right)
                places = (top + down)[at], (left + across)[at], positions[at]
                touched.append(np.stack(places, dtype=np.int32, casting="same_kind"))
        block_row, block_column, position = np.concatenate(touched, axis=1)
        order = np.lexsort((position, block_column, block_row))
        return block_row[order], block_column[order], position[order]

    def _native_box(self, tiles: Box) -> Box:
        """Counted in native tiles to px of the level."""
        wide, high = self.columns.native, self.rows.native
        box = Box(tiles.x * wide, tiles.y * high, tiles.width * wide, tiles.height * high)
        return box.intersection(Box(0, 0, self.columns.length, self.rows.length))


def require_detail(
    info: SlideInfo, slide_mpp: Mpp, mpp: float, *, allow_upsampling: bool = False
) -> bool:
    """Whether tiles at `mpp` would be enlarged much. Raises SlideTooCoarse where nobody asked for
    that; to be called before anything is read, for all of such a slide is as coarse as its mask."""
    coarsest = max(slide_mpp)
    enlarged = coarsest > MAX_ENLARGEMENT * mpp
    if enlarged and not allow_upsampling:
        raise SlideTooCoarse(
            f"{info.path}: level 0 has {coarsest:g} um/px, the tiles need {mpp:g}; "
            "ask for upsampling, or take a model for a coarser resolution"
        )
    return enlarged


def plan_tiles(
    info: SlideInfo,
    grid: TileGrid,
    indices: NDArray[np.integer[Any]],
    *,
    allow_upsampling: bool = False,
) -> TilePlan:
    """The tiles `indices`, int (n, 2) of row and column, in the order in which they can be read.

    That order: by the block that holds the bottom right corner of what a tile needs, blocks row by
    row; within a block by row and column. Raises SlideTooCoarse, InvalidGrid.
    """
    if info.size != grid.size0:
        raise InvalidGrid(f"{info.path}: {tuple(info.size)} px; the grid is for {grid.size0}")
    enlarged = require_detail(info, grid.slide_mpp, grid.mpp, allow_upsampling=allow_upsampling)
    level = pick_level(info, grid.slide_mpp, grid.mpp)
    rows, columns = _axes(info, grid, level, enlarged)
    row, column = np.asarray(indices, np.int32).reshape(-1, 2).T
    order = np.lexsort((column, row, columns.last_block[column], rows.last_block[row]))
    return TilePlan(grid, level, np.stack([row, column], axis=1)[order], rows, columns)


def _axes(info: SlideInfo, grid: TileGrid, level: int, enlarged: bool) -> tuple[AxisPlan, AxisPlan]:
    """Rows and columns."""
    chosen = info.levels[level]
    native = Size(
        min(chosen.tile.width, chosen.size.width), min(chosen.tile.height, chosen.size.height)
    )
    block = _block_size(chosen.size, native)
    down, bounds0 = chosen.downsample, grid.bounds0
    return (
        AxisPlan(
            start=grid.starts_y0 / down.y,
            stop=grid.ends_y0 / down.y,
            edge=bounds0.bottom / down.y,
            length=chosen.size.height,
            native=native.height,
            block=block.height,
            enlarged=enlarged,
        ),
        AxisPlan(
            start=grid.starts_x0 / down.x,
            stop=grid.ends_x0 / down.x,
            edge=bounds0.right / down.x,
            length=chosen.size.width,
            native=native.width,
            block=block.width,
            enlarged=enlarged,
        ),
    )


def _block_size(level: Size, native: Size) -> Size:
    is_large = level.width * level.height >= LEAST_BLOCKS * BLOCK_PX**2
    side = BLOCK_PX if is_large else BLOCK_PX // 2
    width = native.width * max(1, round(side / native.width))
    # strips and untiled pictures are as wide as the slide: their blocks are lower instead
    return Size(width, native.height * max(1, round(side**2 / width / native.height)))


def _runs(
    is_plain: NDArray[np.bool_],
    positions: NDArray[np.int32],
    rows: NDArray[np.int32],
    x: NDArray[np.int64],
    wide: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs begin and how many tiles each has: plain ones side by side that follow each other
    in the plan, or a single one. All arrays: (n,), n > 0."""
    breaks = np.ones(len(rows) + 1, np.bool_)
    breaks[1:-1] = ~(is_plain[1:] & is_plain[:-1]) | (x[1:] - x[:-1] != wide[:-1])
    breaks[1:-1] |= (rows[1:] != rows[:-1]) | (positions[1:] != positions[:-1] + 1)
    (ends,) = breaks.nonzero()
    return ends[:-1], ends[1:] - ends[:-1]


def _boxes(needed: NDArray[np.bool_]) -> tuple[Box, ...]:
    """Rectangles that hold each True once and no False: runs of a row, merged with equal ones."""
    if needed.all():
        return (Box(0, 0, needed.shape[1], needed.shape[0]),)
    return _boxes_of(needed.tobytes(), needed.shape[1])


@lru_cache(maxsize=1024)
def _boxes_of(needed: bytes, width: int) -> tuple[Box, ...]:
    """The same of rows of that many; along the border of the tissue few patterns come again and
    again."""
    boxes: list[Box] = []
    for y, line in enumerate(np.frombuffer(needed, np.bool_).reshape(-1, width)):
        edges = np.flatnonzero(np.diff(line, prepend=False, append=False))
        for left, right in edges.reshape(-1, 2).tolist():
            above = Box(left, y, right - left, 0)
            taller = next((b for b in boxes if b.bottom == y and b[::2] == above[::2]), None)
            if taller is not None:
                boxes.remove(taller)
            boxes.append(
                Box(left, taller.y if taller else y, right - left, y + 1 - (taller or above).y)
            )
    return tuple(boxes)
