"""Where the columns (or rows) of a grid lie on a level: arithmetic along one axis."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from wsi.weights import Weights, covered_weights, linear_weights

__all__ = ["AxisPlan"]

WHOLE = 1e-6  # level px: nearer than this to a pixel's border is on it


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

    def weights(self, i: int, count: int) -> Weights:
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


@lru_cache(maxsize=4096)
def _weights(
    start: float, stop: float, length: int, count: int, edge: float, enlarged: bool
) -> Weights:
    make = linear_weights if enlarged else covered_weights
    return make(start, stop, length, count, edge)
