"""Which tiles a slide has, at what resolution, and where they lie on level 0. No pixels."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidGrid
from wsi.geometry import MPP_RANGE, TILE_PX_RANGE, Box, Mpp, Scale, Size, is_plausible_mpp
from wsi.mask import TissueMask

__all__ = [
    "MIN_TISSUE",
    "TileGrid",
    "select_tiles",
    "tissue_areas0",
    "tissue_fractions",
]

MAX_TILES = 20 * 10**6
"""Of which the tissue is measured: tiles of 50 px at 0.25 um/px on 56 mm of glass a side."""

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Of a difference of four interpolated sums, as a part of the largest sum."""

MIN_TISSUE = 0.1
"""Least part of a tile that is tissue. Low on purpose: a tumour at the edge of the tissue has
half-empty tiles, and a tile too many costs less than one that nobody looked at."""


@dataclass(frozen=True)
class TileGrid:
    """Square tiles of `tile_px` at `mpp`, every `stride_px`, over the scanned part of a slide.

    Along each axis tile i starts at level-0 pixel `origin + floor(i * stride0 + 0.5)` with the real
    number stride0 = stride_px * mpp / slide_mpp, so the rounding never adds up, and ends where
    `floor(i * stride0 + tile0 + 0.5)` says: neighbours without overlap share their border. The last
    tiles reach over the edge, where they are padded. Raises InvalidGrid.
    """

    size0: Size  # of level 0
    slide_mpp: Mpp
    tile_px: int
    mpp: float
    stride_px: int
    bounds0: Box  # the part of level 0 that is tiled

    def __post_init__(self) -> None:
        least_px, most_px = TILE_PX_RANGE
        if not least_px <= self.tile_px <= most_px:
            raise InvalidGrid(f"tile size {self.tile_px} px: use {least_px} to {most_px}")
        if not 1 <= self.stride_px <= self.tile_px:
            raise InvalidGrid(
                f"stride {self.stride_px} px: use 1 to {self.tile_px} (the tile size; "
                "a larger one would leave gaps)"
            )
        if not is_plausible_mpp(self.mpp):
            low, high = MPP_RANGE
            raise InvalidGrid(f"tile resolution {self.mpp} um/px: use {low} to {high:g}")
        if min(self.stride0) < 1:
            raise InvalidGrid(
                f"stride {self.stride_px} px at {self.mpp:g} um/px is {min(self.stride0):.3g} px "
                f"of the slide ({max(self.slide_mpp):g} um/px): tiles would share a start; "
                "use a larger stride or a coarser resolution"
            )
        if self.bounds0.is_empty:
            raise InvalidGrid(f"the slide's bounds {tuple(self.bounds0)} hold no pixel")

    @classmethod
    def over(
        cls,
        size0: Size,
        slide_mpp: Mpp,
        *,
        tile_px: int,
        mpp: float,
        stride_px: int | None = None,
        bounds0: Box | None = None,
    ) -> "TileGrid":
        """A grid over the bounds (default: all of level 0), without overlap by default."""
        whole = Box(0, 0, *size0)
        inside = whole if bounds0 is None else bounds0.intersection(whole)
        stride = tile_px if stride_px is None else stride_px
        return cls(size0, slide_mpp, tile_px, float(mpp), stride, inside)

    @property
    def stride0(self) -> Scale:
        """Level-0 px from one tile to the next: a real number."""
        return Scale(*(self.stride_px * self.mpp / slide_mpp for slide_mpp in self.slide_mpp))

    @property
    def tile0(self) -> Scale:
        """Level-0 px that a tile's side covers: a real number."""
        return Scale(*(self.tile_px * self.mpp / slide_mpp for slide_mpp in self.slide_mpp))

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles: the fewest that cover the bounds."""
        return (
            _count(self.bounds0.height, self.tile0.y, self.stride0.y),
            _count(self.bounds0.width, self.tile0.x, self.stride0.x),
        )

    @cached_property
    def starts_x0(self) -> NDArray[np.int64]:
        """Left edge of each column, level-0 px: int64 (columns,)."""
        return self.bounds0.x + _rounded(np.arange(self.shape[1]) * self.stride0.x)

    @cached_property
    def starts_y0(self) -> NDArray[np.int64]:
        """Top edge of each row, level-0 px: int64 (rows,)."""
        return self.bounds0.y + _rounded(np.arange(self.shape[0]) * self.stride0.y)

    @cached_property
    def ends_x0(self) -> NDArray[np.int64]:
        """One past the right edge of each column, level-0 px; the last may lie off the slide."""
        return self.bounds0.x + _rounded(np.arange(self.shape[1]) * self.stride0.x + self.tile0.x)

    @cached_property
    def ends_y0(self) -> NDArray[np.int64]:
        """One past the bottom edge of each row, level-0 px; the last may lie off the slide."""
        return self.bounds0.y + _rounded(np.arange(self.shape[0]) * self.stride0.y + self.tile0.y)

    def box0(self, row: int, column: int) -> Box:
        """The tile's rectangle on level 0; at the edge it reaches off the slide."""
        x0, y0 = int(self.starts_x0[column]), int(self.starts_y0[row])
        return Box(x0, y0, int(self.ends_x0[column]) - x0, int(self.ends_y0[row]) - y0)

    def xy0_from_indices(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """(row, column) int (n, 2) to (x0, y0) int64 (n, 2), the tiles' top left on level 0."""
        rows, columns = indices[:, 0], indices[:, 1]
        return np.stack([self.starts_x0[columns], self.starts_y0[rows]], axis=1)

    def indices_from_xy0(self, xy0: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """The inverse of xy0_from_indices; InvalidGrid where no tile starts there."""
        columns = np.searchsorted(self.starts_x0, xy0[:, 0])
        rows = np.searchsorted(self.starts_y0, xy0[:, 1])
        indices = np.stack([rows, columns], axis=1).astype(np.int32)
        inside = (rows < self.shape[0]) & (columns < self.shape[1])
        if not inside.all() or not np.array_equal(self.xy0_from_indices(indices), xy0):
            raise InvalidGrid("a tile's position is not on this grid; the store is of another one")
        return indices

    def to_json(self) -> dict[str, Any]:
        """Everything that makes this grid again, as JSON types."""
        return {
            name: value if isinstance(value, (int, float)) else list(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TileGrid":
        return cls(
            size0=Size(*fields["size0"]),
            slide_mpp=Mpp(*fields["slide_mpp"]),
            tile_px=fields["tile_px"],
            mpp=fields["mpp"],
            stride_px=fields["stride_px"],
            bounds0=Box(*fields["bounds0"]),
        )


def tissue_fractions(grid: TileGrid, mask: TissueMask) -> NDArray[np.float32]:
    """Part of each tile that is tissue: float32 (rows, columns), 0 to 1.

    Exact areas. A tile that reaches over the edge of the bounds is measured on its part inside: an
    edge tile is not lost for being cut. Raises InvalidGrid where there are too many to be looked at
    one by one.
    """
    _require_countable(grid)
    bounds0 = grid.bounds0
    left, right = (_inside(x, bounds0.x, bounds0.right) for x in (grid.starts_x0, grid.ends_x0))
    top, bottom = (_inside(y, bounds0.y, bounds0.bottom) for y in (grid.starts_y0, grid.ends_y0))
    whole = np.outer(bottom - top, right - left)
    area = tissue_areas0(mask, (left, right), (top, bottom))
    return np.clip(area / np.maximum(whole, 1e-9), 0, 1).astype(np.float32)


def tissue_areas0(
    mask: TissueMask,
    columns0: tuple[NDArray[np.float64], NDArray[np.float64]],
    rows0: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Level-0 px of tissue in the rectangles that rows and columns make: float64 (rows, columns).

    columns0, rows0: where each starts and ends, level-0 px, real numbers. Exact areas: the mask's
    cumulative sum is read between its pixels.
    """
    import cv2

    total = cv2.integral(mask.tissue.view(np.uint8))  # int32, a row and a column of 0 first
    top, bottom = (_interpolated(total, y / mask.px0.y) for y in rows0)
    left, right = (_interpolated((bottom - top).T, x / mask.px0.x) for x in columns0)
    areas = np.asarray((right - left).T, np.float64)
    areas[areas < ROUNDING * total[-1, -1]] = 0  # a tile without tissue has none, and not 1e-13
    return areas * (mask.px0.x * mask.px0.y)


def select_tiles(
    grid: TileGrid, mask: TissueMask, min_tissue: float = MIN_TISSUE
) -> NDArray[np.int32]:
    """(row, column) of the tiles with at least `min_tissue` of tissue, and some: int32 (n, 2)."""
    if not 0 <= min_tissue <= 1:
        raise InvalidGrid(f"least tissue fraction {min_tissue}: use 0 to 1")
    fractions = tissue_fractions(grid, mask)
    return np.argwhere((fractions >= min_tissue) & (fractions > 0)).astype(np.int32)


def _require_countable(grid: TileGrid) -> None:
    rows, columns = grid.shape
    if rows * columns > MAX_TILES:
        raise InvalidGrid(
            f"stride {grid.stride_px} px at {grid.mpp:g} um/px makes {rows} x {columns} tiles "
            f"(limit {MAX_TILES // 10**6} million); use a larger stride or a coarser resolution"
        )


def _count(extent: int, tile0: float, stride0: float) -> int:
    """The fewest tiles whose last one, rounded, ends at or after `extent`."""
    count = max(1, math.ceil((extent - 0.5 - tile0) / stride0) + 1)
    while count > 1 and math.floor((count - 2) * stride0 + tile0 + 0.5) >= extent:
        count -= 1
    while math.floor((count - 1) * stride0 + tile0 + 0.5) < extent:
        count += 1
    return count


def _rounded(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """geometry.round_half_up, for arrays."""
    return np.asarray(np.floor(values + 0.5), np.int64)


def _inside(edges: NDArray[np.int64], low: int, high: int) -> NDArray[np.float64]:
    return np.clip(edges, low, high).astype(np.float64)


def _interpolated(lines: NDArray[Any], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of `lines` (n + 1, m) at real-numbered positions 0..n: (len(at), m)."""
    at = np.clip(at, 0, len(lines) - 1)
    below = np.minimum(at.astype(np.int64), len(lines) - 2)
    part = (at - below)[:, None]
    return np.asarray(lines[below] * (1 - part) + lines[below + 1] * part, np.float64)
