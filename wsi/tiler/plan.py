"""Which tiles are read from which level, in which order, by which blocks of native tiles.

Arithmetic only. Blocks are read row by row; a tile comes out when the last block that it touches
has been read. So the order is known before anything is read, and any tile can be the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidGrid, SlideTooCoarse
from wsi.geometry import Box, round_half_up
from wsi.grid import TileGrid
from wsi.overview import pick_level
from wsi.resample import covered_weights, linear_weights
from wsi.slide import SlideInfo

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["AxisPlan", "Block", "Piece", "TilePlan", "plan_tiles"]

MAX_ENLARGEMENT = 1.25
"""Level 0 may be this much coarser than the tiles without anybody being asked."""

BLOCK_PX = 1024
"""Side of a block, about: several native tiles, so that few tiles straddle blocks; 3 MB."""

WHOLE = 1e-6  # level px: nearer than this to a pixel's border is on it


@dataclass(frozen=True)
class Block:
    """Some native tiles that are read as one."""

    box: Box  # px of the level; at the edge it may reach beyond it
    reads: tuple[Box, ...]  # the native tiles in it that are needed, px of the level
    native_tiles: int  # in those
    positions: NDArray[np.int64]  # places in the plan of the tiles that touch it, ascending
    finished: int  # how many of them have no pixel in a later block
    cell: int  # px of the level, along both axes, that may be read as one


class Piece(NamedTuple):
    """What one block has of one tile."""

    position: int  # of the tile in the plan
    row: int  # in the grid
    column: int
    box: Box  # px of the level
    is_all: bool  # of what the tile needs
    in_row: bool  # what else it needs lies in the same row of blocks
    in_cells: bool  # of plan.cell px a side, of which each is a pixel of the tile


@dataclass(frozen=True)
class AxisPlan:
    """Where the grid's columns (or rows) lie on the level, in px of the level along one axis."""

    start: NDArray[np.float64]  # (n,) real numbers
    stop: NDArray[np.float64]  # (n,)
    edge: float  # where the bounds end: background from there on
    length: int  # px that the level has
    native: int  # side of a native tile
    block: int  # side of a block: some native tiles
    enlarged: bool  # interpolate between pixels instead of averaging them

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """First pixel that each needs."""
        margin = 1 if self.enlarged else 0
        first = np.floor(self.start + WHOLE).astype(np.int64) - margin
        return np.clip(first, 0, self.length - 1)

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """One past the last pixel that each needs."""
        margin = 1 if self.enlarged else 0
        last = np.ceil(np.minimum(self.stop, self.edge) - WHOLE).astype(np.int64) + margin
        return np.clip(last, self.first + 1, self.length)

    @cached_property
    def is_whole(self) -> NDArray[np.bool_]:
        """Begins and ends on borders of pixels, inside the bounds and the level."""
        off = np.abs(self.start - self.first) + np.abs(self.stop - self.last)
        return (off < WHOLE) & (not self.enlarged)

    @cached_property
    def first_block(self) -> NDArray[np.int64]:
        return self.first // self.block

    @cached_property
    def last_block(self) -> NDArray[np.int64]:
        return (self.last - 1) // self.block

    @cached_property
    def whole_length(self) -> NDArray[np.int64]:
        """Pixels that each covers, what the bounds cut off included, where all these borders are
        borders of pixels; 0 elsewhere."""
        shown = np.minimum(self.stop, self.edge)
        length = np.round(self.stop - self.start).astype(np.int64)
        off = np.abs(self.start - self.first) + np.abs(shown - self.last)
        off += np.abs(self.stop - self.start - length)
        return np.where((off < WHOLE) & (not self.enlarged), length, 0)

    def in_cells(self, cell: int, count: int) -> NDArray[np.bool_]:
        """Consists of `count` cells of `cell` px, none of which lies in two native tiles."""
        if cell < 1 or self.native % cell:
            return np.zeros(len(self.start), np.bool_)
        fits = (self.last - self.first == cell * count) & (self.first % cell == 0)
        return np.asarray(self.is_whole & fits)

    def is_cut(self, i: int) -> bool:
        """Reaches beyond the bounds."""
        return bool(self.stop[i] > self.edge + WHOLE)

    def weights(self, i: int, count: int) -> "csr_array":
        """(count, last - first): how much of each pixel goes into each pixel of the tile."""
        first, edge = float(self.first[i]), self.edge if self.is_cut(i) else np.inf
        return _weights(
            round(max(0.0, float(self.start[i]) - first), 9),
            round(float(self.stop[i]) - first, 9),
            int(self.last[i] - self.first[i]),
            count,
            round(edge - first, 9),
            self.enlarged,
        )


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
        return int(self._needed(slice(None)).sum())

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
        by_block = self._positions_by_block(part)
        for at in sorted(by_block):
            top, left = at[0] * per_row, at[1] * per_column
            inside = needed[top : top + per_row, left : left + per_column]
            reads = [self._native_box(Box(left + b.x, top + b.y, *b[2:])) for b in _boxes(inside)]
            yield self._block(at, tuple(reads), int(inside.sum()), by_block[at])

    def pieces(self, block: Block) -> list[Piece]:
        """What a block has of the tiles that touch it, in the order of the plan."""
        rows, columns = self.indices[block.positions].T
        top, left = self.rows.first[rows], self.columns.first[columns]
        bottom, right = self.rows.last[rows], self.columns.last[columns]
        y, x = np.maximum(top, block.box.y), np.maximum(left, block.box.x)
        high = np.minimum(bottom, block.box.bottom) - y
        wide = np.minimum(right, block.box.right) - x
        in_row = high == bottom - top
        is_all = in_row & (wide == right - left)
        in_cells = self._in_cells[0][rows] & self._in_cells[1][columns]
        facts = (block.positions, rows, columns, x, y, wide, high, is_all, in_row, in_cells)
        return [
            Piece(position, row, column, Box(*box), *claims)
            for position, row, column, box, claims in zip(
                *(fact.tolist() for fact in facts[:3]),
                np.stack(facts[3:7], axis=1).tolist(),
                np.stack(facts[7:], axis=1).tolist(),
                strict=True,
            )
        ]

    def _block(
        self,
        at: tuple[int, int],
        reads: tuple[Box, ...],
        native_tiles: int,
        positions: NDArray[np.int64],
    ) -> Block:
        """The one `at` that row and column, counted in blocks."""
        rows, columns = self.indices[positions].T
        ends_here = (self.rows.last_block[rows] == at[0]) & (
            self.columns.last_block[columns] == at[1]
        )
        wide, high = self.columns.block, self.rows.block
        in_cells = self._in_cells[0][rows] & self._in_cells[1][columns]
        return Block(
            Box(at[1] * wide, at[0] * high, wide, high),
            reads,
            native_tiles,
            positions,
            int(ends_here.sum()),
            self.cell if in_cells.all() else 1,
        )

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

    def _positions_by_block(self, part: slice) -> dict[tuple[int, int], NDArray[np.int64]]:
        """(block row, block column) to the places in the plan of the tiles that touch it."""
        rows, columns = self.indices[part].T
        if not len(rows):
            return {}
        positions = np.arange(len(self))[part]
        top, bottom = self.rows.first_block[rows], self.rows.last_block[rows]
        left, right = self.columns.first_block[columns], self.columns.last_block[columns]
        touched = []
        for down in range(int((bottom - top).max()) + 1):
            for across in range(int((right - left).max()) + 1):
                at = (top + down <= bottom) & (left + across <= right)
                touched.append(np.stack([(top + down)[at], (left + across)[at], positions[at]]))
        block_row, block_column, position = np.concatenate(touched, axis=1)
        order = np.lexsort((position, block_column, block_row))
        keys = np.stack([block_row, block_column])[:, order]
        starts = np.flatnonzero(np.any(np.diff(keys, prepend=-1), axis=0))
        groups = np.split(position[order], starts[1:])
        return {
            (int(keys[0, s]), int(keys[1, s])): group
            for s, group in zip(starts, groups, strict=True)
        }

    def _native_box(self, tiles: Box) -> Box:
        """Counted in native tiles to px of the level."""
        wide, high = self.columns.native, self.rows.native
        box = Box(tiles.x * wide, tiles.y * high, tiles.width * wide, tiles.height * high)
        return box.intersection(Box(0, 0, self.columns.length, self.rows.length))


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
    coarsest = max(grid.slide_mpp)
    enlarged = coarsest > MAX_ENLARGEMENT * grid.mpp
    if enlarged and not allow_upsampling:
        raise SlideTooCoarse(
            f"{info.path}: level 0 has {coarsest:g} um/px, the tiles need {grid.mpp:g}; "
            "ask for upsampling, or take a model for a coarser resolution"
        )
    level = pick_level(info, grid.slide_mpp, grid.mpp)
    rows, columns = _axes(info, grid, level, enlarged)
    row, column = np.asarray(indices, np.int32).reshape(-1, 2).T
    order = np.lexsort((column, row, columns.last_block[column], rows.last_block[row]))
    return TilePlan(grid, level, np.stack([row, column], axis=1)[order], rows, columns)


def _axes(info: SlideInfo, grid: TileGrid, level: int, enlarged: bool) -> tuple[AxisPlan, AxisPlan]:
    """Rows and columns."""
    chosen = info.levels[level]
    native = (
        min(chosen.tile.width, chosen.size.width),
        min(chosen.tile.height, chosen.size.height),
    )
    block_width = native[0] * max(1, round(BLOCK_PX / native[0]))
    # strips and untiled pictures are as wide as the slide: their blocks are lower instead
    block_height = native[1] * max(1, round(BLOCK_PX**2 / block_width / native[1]))
    down, bounds0 = chosen.downsample, grid.bounds0
    return (
        AxisPlan(
            start=grid.starts_y0 / down.y,
            stop=grid.ends_y0 / down.y,
            edge=bounds0.bottom / down.y,
            length=chosen.size.height,
            native=native[1],
            block=block_height,
            enlarged=enlarged,
        ),
        AxisPlan(
            start=grid.starts_x0 / down.x,
            stop=grid.ends_x0 / down.x,
            edge=bounds0.right / down.x,
            length=chosen.size.width,
            native=native[0],
            block=block_width,
            enlarged=enlarged,
        ),
    )


def _boxes(needed: NDArray[np.bool_]) -> list[Box]:
    """Rectangles that hold each True once and no False: runs of a row, merged with equal ones."""
    boxes: list[Box] = []
    for y, line in enumerate(needed):
        edges = np.flatnonzero(np.diff(line, prepend=False, append=False))
        for left, right in edges.reshape(-1, 2).tolist():
            above = Box(left, y, right - left, 0)
            taller = next((b for b in boxes if b.bottom == y and b[::2] == above[::2]), None)
            if taller is not None:
                boxes.remove(taller)
            boxes.append(
                Box(left, taller.y if taller else y, right - left, y + 1 - (taller or above).y)
            )
    return boxes


@lru_cache(maxsize=4096)
def _weights(
    start: float, stop: float, length: int, count: int, edge: float, enlarged: bool
) -> "csr_array":
    make = linear_weights if enlarged else covered_weights
    return make(start, stop, length, count, edge)
