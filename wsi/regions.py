"""Regions: connected cells at or above a threshold, as numbers and as polygons on level 0."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, outer_box
from wsi.heatmap import Heatmap

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

__all__ = ["Region", "RegionStats", "measure_regions", "regions"]

_EIGHT = np.ones((3, 3), bool)  # neighbours by side and by corner


@dataclass(frozen=True)
class RegionStats:
    """Figures of one region. Its cells are cut at the edge of the bounds; level-0 px."""

    cells: int
    area_mm2: float
    mean_prob: float  # over the region's area
    max_prob: float
    centroid0: tuple[float, float]  # (x0, y0); may lie outside a bent region
    box0: Box


@dataclass(frozen=True)
class Region:
    """A region with its outline along the borders of its cells, level-0 px.

    The polygon is valid, its holes are holes; it is a MultiPolygon where parts touch only by a
    corner. Its area is exactly the area of the region's cells.
    """

    polygon: "Polygon | MultiPolygon"
    stats: RegionStats


def regions(heatmap: Heatmap, threshold: float | None = None) -> list[Region]:
    """Cells of the positive class at or above `threshold` (default: the heatmap's own), grouped by
    sides and corners, largest first.

    Outlines follow the cells' borders (Heatmap.edges_x0, edges_y0): nothing is smoothed or
    simplified, so that a region is neither more nor less than what was scored.
    """
    above = _above(heatmap, threshold)
    labels, count = _label(above, _EIGHT)
    order, stats = _measure(heatmap, labels, count)
    shapes = _polygons(above, labels, heatmap.edges_x0, heatmap.edges_y0)
    return [Region(shapes[i], s) for i, s in zip(order, stats, strict=True)]


def measure_regions(heatmap: Heatmap, threshold: float | None = None) -> list[RegionStats]:
    """The figures of regions(), without outlines."""
    labels, count = _label(_above(heatmap, threshold), _EIGHT)
    return _measure(heatmap, labels, count)[1]


def _above(heatmap: Heatmap, threshold: float | None) -> NDArray[np.bool_]:
    at = heatmap.threshold if threshold is None else threshold
    above: NDArray[np.bool_] = heatmap.positive >= at  # NaN is not above anything
    return above


def _label(
    above: NDArray[np.bool_], neighbours: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], int]:
    """Components 1..count, 0 elsewhere: int32, of the shape of `above`."""
    from scipy import ndimage

    labels, count = ndimage.label(above, neighbours)
    return labels, int(count)


def _measure(
    heatmap: Heatmap, labels: NDArray[np.int32], count: int
) -> tuple[Sequence[int], list[RegionStats]]:
    """Order of the labels (0-based) by falling area, and the figures in that order."""
    from scipy import ndimage

    rows, columns = np.nonzero(labels)
    label = labels[rows, columns] - 1
    value = heatmap.positive[rows, columns].astype(np.float64)
    x, y = heatmap.edges_x0, heatmap.edges_y0
    area = np.diff(x)[columns] * np.diff(y)[rows]
    center_x, center_y = (x[columns] + x[columns + 1]) / 2, (y[rows] + y[rows + 1]) / 2

    def total(weights: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.bincount(label, weights, minlength=count)

    area0 = total(area)
    means = np.stack([total(area * v) for v in (value, center_x, center_y)]) / area0
    top = np.zeros(count)
    np.maximum.at(top, label, value)
    cells, mm2 = total(), area0 * heatmap.slide_mpp.x * heatmap.slide_mpp.y / 1e6
    found = ndimage.find_objects(labels)
    order = np.argsort(-area0, kind="stable")
    return order.tolist(), [
        RegionStats(
            cells=int(cells[i]),
            area_mm2=float(mm2[i]),
            mean_prob=float(means[0, i]),
            max_prob=float(top[i]),
            centroid0=(float(means[1, i]), float(means[2, i])),
            box0=_box0(found[i], x, y),
        )
        for i in order
    ]


def _box0(found: tuple[slice, slice], x: NDArray[np.float64], y: NDArray[np.float64]) -> Box:
    down, across = found
    return outer_box(x[across.start], y[down.start], x[across.stop], y[down.stop])


def _polygons(
    above: NDArray[np.bool_],
    labels: NDArray[np.int32],
    x0: NDArray[np.float64],
    y0: NDArray[np.float64],
) -> list["Polygon | MultiPolygon"]:
    """One shape for each label, in the order of the labels.

    Cells that are connected by their sides have one outer ring and no, one or many holes, so rings
    need no search for what holds what: they are grouped by the cell that they run along.
    """
    import shapely

    if not above.any():
        return []
    parts, count = _label(above)
    rings = _trace(above, parts)
    coords = np.stack([x0[rings.columns], y0[rings.rows]], axis=1)
    shapes = shapely.linearrings(coords, indices=rings.ring)
    region_of_part = np.zeros(count + 1, np.int64)
    region_of_part[parts[above]] = labels[above] - 1
    return _assemble(shapes, rings.part, rings.is_outer, region_of_part[1:])


def _assemble(
    shapes: NDArray[Any],
    part: NDArray[np.int64],
    is_outer: NDArray[np.bool_],
    region: NDArray[np.int64],
) -> list["Polygon | MultiPolygon"]:
    """Rings to polygons (one for each part), polygons to regions."""
    import shapely

    outer = np.empty(len(region), object)
    outer[part[is_outer]] = shapes[is_outer]
    polygons = shapely.polygons(outer)
    for i, holes in _grouped(shapes[~is_outer], part[~is_outer]):
        polygons[i] = shapely.polygons(outer[i], holes)
    return [
        group[0] if len(group) == 1 else shapely.multipolygons(group)
        for _, group in _grouped(polygons, region)
    ]


def _grouped(items: NDArray[Any], key: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The items of each key, by rising key."""
    order = np.argsort(key, kind="stable")
    keys, first = np.unique(key[order], return_index=True)
    for k, start, stop in zip(keys, first, np.append(first, len(key))[1:], strict=True):
        yield k, items[order[start:stop]]


@dataclass(frozen=True)
class _Rings:
    """Corners of all rings one after the other, each ring open (its end is not its start)."""

    rows: NDArray[np.int64]  # (n,) of the lattice of cell corners
    columns: NDArray[np.int64]  # (n,)
    ring: NDArray[np.int64]  # (n,) which ring a corner is of
    part: NDArray[np.int64]  # (rings,) 0-based component whose cells the ring runs along
    is_outer: NDArray[np.bool_]  # (rings,)


def _trace(above: NDArray[np.bool_], parts: NDArray[np.int32]) -> _Rings:
    """Boundaries of the set cells, with the set side on the right when y points down.

    A boundary turns at lattice corners only. In row-major order the corners of a lattice row pair
    up into its horizontal runs, in column-major order those of each column into vertical runs; a
    ring goes along them by turns.
    """
    rows, columns, goes_down = _corners(above, parts)
    start, end = _directed_runs(above, rows, columns)
    vertical = np.argsort((columns * (len(above) + 1) + rows) * 2 + goes_down, kind="stable")
    across = np.empty_like(vertical)
    across[vertical[0::2]], across[vertical[1::2]] = vertical[1::2], vertical[0::2]
    order, ring = _walk(across[end] // 2)
    start, end = start[order], end[order]
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    area = np.add.reduceat(-rows[start] * (columns[end] - columns[start]), first)
    below = columns[end] > columns[start]  # a run to the right has its cells below it
    cell = rows[start] - ~below, np.minimum(columns[start], columns[end])
    both = np.stack([start, end], axis=1).ravel()
    return _Rings(
        rows[both],
        columns[both],
        np.repeat(ring, 2),
        parts[cell][first].astype(np.int64) - 1,
        area > 0,
    )


def _corners(
    above: NDArray[np.bool_], parts: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Lattice row and column of each turn in row-major order, and whether its vertical run goes on
    below it.

    Where two cells touch by a corner only, two boundaries turn there; the first of the two belongs
    to the horizontal run on the left. If both cells are of one part the boundaries are joined
    across the corner, else kept apart: no ring then meets itself, as valid polygons demand.
    """
    set_, part = np.pad(above, 1), np.pad(parts, 1)
    nw, ne, sw, se = set_[:-1, :-1], set_[:-1, 1:], set_[1:, :-1], set_[1:, 1:]
    saddle = (nw == se) & (ne == sw) & (nw != ne)
    single = nw ^ ne ^ sw ^ se
    rows, columns = np.nonzero(single | saddle)
    is_saddle = saddle[rows, columns]
    upper = np.maximum(part[rows, columns], part[rows, columns + 1])
    lower = np.maximum(part[rows + 1, columns], part[rows + 1, columns + 1])
    left_goes_down = (upper == lower) == nw[rows, columns]
    goes_down = np.where(is_saddle, left_goes_down, (sw ^ se)[rows, columns])
    twice = np.repeat(np.arange(len(rows)), 1 + is_saddle)
    second = np.diff(twice, prepend=-1) == 0
    return rows[twice], columns[twice], goes_down[twice] ^ second


def _directed_runs(
    above: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corner at which each horizontal run starts, and at which it ends."""
    left = np.arange(0, len(rows), 2)
    row, column = rows[left], columns[left]
    to_right = (row < len(above)) & above[np.minimum(row, len(above) - 1), column]
    return np.where(to_right, left, left + 1), np.where(to_right, left + 1, left)


def _walk(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cycles of a permutation: its elements cycle by cycle, and each one's cycle."""
    after, seen = following.tolist(), bytearray(len(following))
    order: list[int] = []
    lengths: list[int] = []
    for first in range(len(after)):
        at, before = first, len(order)
        while not seen[at]:
            seen[at] = 1
            order.append(at)
            at = after[at]
        if len(order) > before:
            lengths.append(len(order) - before)
    return np.array(order, np.int64), np.repeat(np.arange(len(lengths)), lengths)
