"""How much of each source pixel goes into each pixel of a result, along one axis."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Weights", "area_weights", "covered_weights", "linear_weights"]


@dataclass(frozen=True, eq=False)
class Weights:
    """Sparse rows, (count, length): the k-th pixel of a result is the sum of values[t] times source
    pixel indices[t], over indptr[k] <= t < indptr[k + 1]. The arrays are shared and read only."""

    indptr: NDArray[np.int32]  # (count + 1,)
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    length: int  # source pixels

    @property
    def count(self) -> int:
        return len(self.indptr) - 1

    @property
    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """As _area takes them."""
        return self.indptr, self.indices, self.values

    def part(self, rows: slice, first: int, length: int) -> "Weights":
        """Of these rows, which follow each other and need no other pixels than the `length` from
        `first` on. Raises ValueError."""
        start, stop, _ = rows.indices(self.count)
        borders = self.indptr[start : stop + 1]
        taps = slice(borders[0], borders[-1])
        indices = self.indices[taps] - np.int32(first)
        if indices.min(initial=0) < 0 or indices.max(initial=-1) >= length:
            raise ValueError(f"rows {start} to {stop} need more than {length} pixels from {first}")
        return Weights(borders - borders[0], indices, self.values[taps], length)

    @cached_property
    def sums(self) -> NDArray[np.float32]:
        """(count,): 1 where a pixel of the result is made of source pixels alone."""
        return np.asarray(self.sparse.sum(axis=1), np.float32)

    @cached_property
    def sparse(self) -> "csr_array":
        """The same for SciPy, float32."""
        from scipy.sparse import csr_array

        return csr_array((self.values, self.indices, self.indptr), shape=(self.count, self.length))


@lru_cache(maxsize=32)
def area_weights(start: float, stop: float, length: int, count: int) -> Weights:
    """(count, length): row k averages the k-th of `count` equal parts of [start, stop) over source
    pixels 0..length-1, each weighted by how much of it is covered.

    What sticks out of 0..length is left out and the rest weighted up; a part that lies outside
    altogether repeats the nearest pixel. Rows sum to 1.
    """
    edges = np.clip(np.linspace(start, stop, count + 1), 0, length)
    first = np.minimum(np.floor(edges[:-1]).astype(np.int64), length - 1)
    last = np.maximum(np.ceil(edges[1:]).astype(np.int64), first + 1)
    taps = last - first
    indptr = np.concatenate([[0], np.cumsum(taps)])
    row = np.repeat(np.arange(count), taps)
    pixel = np.arange(indptr[-1]) - indptr[row] + first[row]
    covered = np.minimum(edges[row + 1], pixel + 1) - np.maximum(edges[row], pixel)
    empty = (edges[1:] <= edges[:-1])[row]
    covered = np.where(empty, pixel == first[row], np.maximum(covered, 0))
    weights = covered / np.add.reduceat(covered, indptr[:-1])[row]
    return _weights(weights, pixel, indptr, length)


def covered_weights(
    start: float, stop: float, length: int, count: int, edge: float = math.inf
) -> Weights:
    """As area_weights, but nothing is weighted up: what lies beyond `edge` weighs nothing, so that
    the rows there sum to less than 1 and the rest is background.

    The last pixel reaches as far as `edge`, where that lies beyond it: writers cut levels short.
    0 <= start.
    """
    edges = np.minimum(np.linspace(start, stop, count + 1), edge)
    first = np.minimum(np.floor(edges[:-1]).astype(np.int64), length - 1)
    last = np.clip(np.ceil(edges[1:]).astype(np.int64), first + 1, length)
    taps = last - first
    indptr = np.concatenate([[0], np.cumsum(taps)])
    row = np.repeat(np.arange(count), taps)
    pixel = np.arange(indptr[-1]) - indptr[row] + first[row]
    pixel_stop = np.where(pixel == length - 1, np.inf, pixel + 1)
    covered = np.minimum(edges[row + 1], pixel_stop) - np.maximum(edges[row], pixel)
    weights = np.maximum(covered, 0) * count / (stop - start)
    return _weights(weights, pixel, indptr, length)


def linear_weights(
    start: float, stop: float, length: int, count: int, edge: float = math.inf
) -> Weights:
    """As covered_weights, for enlarging: each output pixel's centre lies between two source pixels'
    centres and mixes the two; a centre at or beyond `edge` weighs nothing.
    """
    centres = start + (np.arange(count) + 0.5) * (stop - start) / count
    below = np.floor(centres - 0.5)
    part = centres - 0.5 - below
    pixel = np.clip(np.stack([below, below + 1], axis=1), 0, length - 1).astype(np.int64)
    weights = np.stack([1 - part, part], axis=1) * (centres < edge)[:, None]
    return _weights(weights.ravel(), pixel.ravel(), np.arange(count + 1) * 2, length)


def _weights(
    values: NDArray[np.float64], indices: NDArray[np.int64], indptr: NDArray[np.int64], length: int
) -> Weights:
    made = Weights(
        indptr.astype(np.int32), indices.astype(np.int32), values.astype(np.float32), length
    )
    for array in made.arrays:
        array.setflags(write=False)
    return made
