"""The assembler: tile scores back into a map that lies on the slide."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.channels import check_channels
from wsi.errors import InvalidOption
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.grid import TileGrid

__all__ = ["PYRAMID_PX", "WINDOWS", "Heatmap", "assemble", "pyramid"]

PYRAMID_PX = 256
"""The pyramid ends where a level fits into one viewer tile."""

GAUSSIAN_SIGMA = 1 / 8
"""Of the tile's side, as in nnU-Net and MONAI's sliding window: the edge is 4 sigma out."""


@dataclass(frozen=True)
class Heatmap:
    """Class probabilities on cells of one stride each.

    Cell (row, column) covers the level-0 rectangle that starts at
    (bounds0.x + column * cell0.x, bounds0.y + row * cell0.y) and is cell0.x by cell0.y large, real
    numbers; the last cells may reach over the edge of the bounds.
    """

    values: NDArray[np.float32]  # (classes, rows, columns); NaN where there is no tissue
    classes: tuple[str, ...]
    positive_class: str  # the class that pictures, thresholds and regions are about
    threshold: float  # of the positive class's probability; at or above it is positive
    size0: Size  # level 0 of the slide
    slide_mpp: Mpp
    bounds0: Box  # the part of level 0 that was tiled
    cell0: Scale  # level-0 px a cell
    channels: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Beside the classes, by a key of wsi.channels.CHANNELS: (rows, columns), NaN where values is.
    """

    def __post_init__(self) -> None:
        check_channels(self.channels, self.classes)
        for name, plane in self.channels.items():
            if plane.shape != self.values.shape[1:]:
                raise InvalidOption(
                    f"channel {name} has {plane.shape} cells, the heatmap {self.values.shape[1:]}"
                )

    @property
    def planes(self) -> NDArray[np.float32]:
        """Classes, then channels: (classes + channels, rows, columns)."""
        if not self.channels:
            return self.values
        return np.concatenate([self.values, np.stack(list(self.channels.values()))])

    def with_channels(self, channels: Mapping[str, NDArray[np.float32]]) -> "Heatmap":
        """This one with further channels, float32 (rows, columns). Raises InvalidOption."""
        return replace(self, channels={**self.channels, **channels})

    @property
    def positive(self) -> NDArray[np.float32]:
        """The positive class alone: (rows, columns)."""
        plane: NDArray[np.float32] = self.values[self.classes.index(self.positive_class)]
        return plane

    @property
    def cell_um(self) -> Scale:
        return Scale(self.cell0.x * self.slide_mpp.x, self.cell0.y * self.slide_mpp.y)

    @cached_property
    def edges_x0(self) -> NDArray[np.float64]:
        """Borders of the columns on level 0 for outlines and areas: float64 (columns + 1,).

        Rounded to whole px as the tiles' borders are, and cut at the edge of the bounds.
        """
        return _edges(self.values.shape[2], self.cell0.x, self.bounds0.x, self.bounds0.right)

    @cached_property
    def edges_y0(self) -> NDArray[np.float64]:
        """Borders of the rows on level 0, as edges_x0: float64 (rows + 1,)."""
        return _edges(self.values.shape[1], self.cell0.y, self.bounds0.y, self.bounds0.bottom)


def _edges(count: int, cell0: float, low: int, high: int) -> NDArray[np.float64]:
    edges = np.arange(count + 1, dtype=np.float64) * cell0
    if cell0 >= 1:  # smaller cells would lose their width
        edges = np.floor(edges + 0.5)
    return np.asarray(np.minimum(low + edges, high))


def assemble(
    grid: TileGrid,
    indices: NDArray[np.integer[Any]],
    prob: NDArray[np.floating[Any]],
    *,
    classes: Sequence[str],
    positive_class: str,
    threshold: float,
    window: str = "uniform",
    channels: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> Heatmap:
    """Scores (n, classes) of the tiles at `indices` (n, 2: row, column) as a map of cells.

    channels: by name (n,) numbers, of which the map holds the same means.

    A cell is one stride. Its value is the mean of the scored tiles that cover it, each weighted by
    the integral of the window (a key of WINDOWS, over the tile) over their common area; a cell that
    no scored tile covers is NaN. However small the common area is, a score is shown wherever its
    tile looked: with overlap the map therefore reaches past the tissue by up to tile minus stride,
    and areas of tissue are counted by the mask, not by cells.

    Tiles and cells are taken where the real-number grid has them; the tiles' starts are that,
    rounded to a whole level-0 px. Without overlap a cell is its tile's score, to the bit.
    Raises InvalidOption.
    """
    _check(grid, indices, prob, classes, positive_class, threshold)
    columns = [*np.asarray(prob).T, *_columns(channels or {}, len(prob))]
    planes = _means(grid, indices, columns, window)
    values, more = planes[: len(classes)], planes[len(classes) :]
    return Heatmap(
        values, tuple(classes), positive_class, float(threshold),
        grid.size0, grid.slide_mpp, grid.bounds0, grid.stride0,
        dict(zip(channels or {}, more, strict=True)),
    )  # fmt: skip


def _columns(
    channels: Mapping[str, NDArray[np.floating[Any]]], count: int
) -> list[NDArray[np.floating[Any]]]:
    for name, column in channels.items():
        if column.shape != (count,) or not np.isfinite(column).all():
            raise InvalidOption(f"channel {name} {column.shape}: use {count} finite numbers")
    return list(channels.values())


def _means(
    grid: TileGrid,
    indices: NDArray[np.integer[Any]],
    columns: Sequence[NDArray[np.floating[Any]]],
    window: str,
) -> NDArray[np.float32]:
    """A plane a column: float32 (columns, rows of cells, columns of cells)."""
    kernel = _kernel(grid.tile_px, grid.stride_px, window)
    scored = np.zeros(grid.shape)
    scored[tuple(indices.T)] = 1
    shape = _cell_counts(grid)
    weight = _spread(scored, kernel)[: shape[0], : shape[1]]
    planes = np.full((len(columns), *shape), np.nan, np.float32)
    for plane, column in zip(planes, columns, strict=True):
        scored[tuple(indices.T)] = column
        total = _spread(scored, kernel)[: shape[0], : shape[1]]
        np.divide(total, weight, out=plane, where=weight > 0, casting="same_kind")
    return planes


def pyramid(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """`values` (..., rows, columns), then half its size and so on until a level fits 256 cells.

    A cell is the mean of all the level-0 cells below it that are not NaN, NaN where there are none.
    Odd sizes round up: the last cell then reaches over the edge, and the scale stays exactly 2.
    """
    levels = [values]
    count = np.isfinite(values).astype(np.float64)
    total = np.where(count > 0, values, 0).astype(np.float64)
    while max(levels[-1].shape[-2:]) > PYRAMID_PX:
        total, count = _halve(total), _halve(count)
        mean = np.full(total.shape, np.nan, np.float32)
        np.divide(total, count, out=mean, where=count > 0, casting="same_kind")
        levels.append(mean)
    return levels


def _halve(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of blocks of 2 by 2 along the last two axes; sizes round up."""
    rows, columns = values.shape[-2:]
    down = values[..., 0::2, :].copy()
    down[..., : rows // 2, :] += values[..., 1::2, :]
    across = down[..., 0::2].copy()
    across[..., : columns // 2] += down[..., 1::2]
    return across


def _cell_counts(grid: TileGrid) -> tuple[int, int]:
    """Rows and columns of cells: the fewest that cover the bounds, by the grid's rounding rule."""
    if grid.stride_px == grid.tile_px:
        return grid.shape
    covered = -(-grid.tile_px // grid.stride_px) - 1
    rows, columns = (
        min(n + covered, max(1, math.ceil((extent - 0.5) / stride0)))
        for n, extent, stride0 in zip(
            grid.shape, (grid.bounds0.height, grid.bounds0.width), grid.stride0[::-1], strict=True
        )
    )
    return rows, columns


def _spread(scored: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each tile's number, weighted, on the cells it covers: along rows, then along columns."""
    return _spread_rows(_spread_rows(scored, kernel).T, kernel).T


def _spread_rows(lines: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) to (n + taps - 1, m): cell i + k takes tile i times kernel[k]."""
    out = np.zeros((len(lines) + len(kernel) - 1, lines.shape[1]))
    for k, weight in enumerate(kernel):
        out[k : k + len(lines)] += weight * lines
    return out


def _kernel(tile_px: int, stride_px: int, window: str) -> NDArray[np.float64]:
    """Integral of the window over each of the cells that a tile covers, along one axis.

    Both axes are alike and every tile is too: cells and tiles start on the same multiples of the
    stride. In float64: what a single tile's weight does to its float32 score and undoes again
    rounds back to the score.
    """
    if window not in WINDOWS:
        raise InvalidOption(f"window {window!r}: use one of {', '.join(WINDOWS)}")
    cells = -(-tile_px // stride_px)
    edges = np.minimum(np.arange(cells + 1) * stride_px / tile_px, 1.0)
    return np.diff(WINDOWS[window](edges))


def _uniform_integral(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of 1 from 0 to u, as those below; u runs from 0 to 1 over the tile."""
    return u


def _gaussian_integral(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of exp(-((u - 1/2) / sigma)^2 / 2), but for a factor."""
    return np.array([math.erf((v - 0.5) / (GAUSSIAN_SIGMA * math.sqrt(2))) for v in u])


def _hann_integral(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of sin(pi u)^2."""
    return u / 2 - np.sin(2 * np.pi * u) / (4 * np.pi)


WINDOWS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "uniform": _uniform_integral,
    "gaussian": _gaussian_integral,
    "hann": _hann_integral,
}


def _check(
    grid: TileGrid,
    indices: NDArray[Any],
    prob: NDArray[Any],
    classes: Sequence[str],
    positive_class: str,
    threshold: float,
) -> None:
    if positive_class not in classes:
        raise InvalidOption(
            f"positive class {positive_class!r}: use one of {', '.join(map(repr, classes))}"
        )
    if not 0 <= threshold <= 1:
        raise InvalidOption(f"threshold {threshold}: use a probability, 0 to 1")
    if indices.shape != (len(prob), 2) or prob.shape != (len(prob), len(classes)):
        raise InvalidOption(
            f"scores {prob.shape} at indices {indices.shape}: use (n, {len(classes)}), one column "
            "a class, and (n, 2)"
        )
    if not np.isfinite(prob).all():
        raise InvalidOption("a score is not a finite number; the model or its input is broken")
    if (indices < 0).any() or (indices >= grid.shape).any():
        raise InvalidOption(f"a scored tile lies outside the grid of {grid.shape} tiles")
    scored = np.zeros(grid.shape, bool)
    scored[tuple(indices.T)] = True
    if np.count_nonzero(scored) < len(indices):
        raise InvalidOption("a tile has two scores; give each tile once")
