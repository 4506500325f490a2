"""What a heatmap says: the slide in a few figures, and its regions on level 0.

A region is a group of connected cells at or above a threshold.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, outer_box
from wsi.grid import tissue_areas0
from wsi.heatmap import Heatmap
from wsi.mask import TissueMask

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

__all__ = [
    "BINS",
    "PERCENTILES",
    "UNCERTAIN",
    "Region",
    "RegionStats",
    "measure_regions",
    "regions",
    "summarise",
]

PERCENTILES = (5, 25, 50, 75, 95, 99)

BINS = 200
"""Of the histogram of tissue over probability: a threshold slider's steps of 0.005."""

UNCERTAIN = 0.05
"""Standard deviation of a tile's probability over its symmetries. Of the IDC validation tiles 15 %
are above it, and 41 % of those are wrong; of the others 9 %."""

_EIGHT = np.ones((3, 3), bool)  # neighbours by side and by corner


@dataclass(frozen=True)
class RegionStats:
    """Figures of one region. Its cells are cut at the edge of the bounds; level-0 px."""

    cells: int
    area_mm2: float
    mean_prob: float  # over the region's area
    max_prob: float
    peak0: tuple[float, float]  # (x0, y0) of the centre of a cell with that probability
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


def summarise(
    heatmap: Heatmap, mask: TissueMask, threshold: float | None = None, *, top: int = 10
) -> dict[str, Any]:
    """The slide in figures, as JSON types.

    Areas of tissue count the mask's tissue inside the bounds, cell by cell; areas of regions are
    those of their outlines, tissue or not. The fraction is of the tissue that has a score.
    Probabilities are of the positive class over cells, each cell once. `regions.largest` holds
    `top` at most, in level-0 px. `outcome` is "scored", or "no tissue" where no tile was scored:
    what would divide by zero is then None. `histogram.tissue_mm2` is the scored tissue in BINS
    equal parts of 0..1, a border belonging to the upper part. `uncertain`, of a heatmap with that
    channel: the scored tissue whose uncertainty is above UNCERTAIN.
    """
    at = heatmap.threshold if threshold is None else threshold
    tissue = _tissue_mm2(heatmap, mask)
    scored = np.isfinite(heatmap.positive)
    scored_mm2, above_mm2 = (float(tissue[m].sum()) for m in (scored, _above(heatmap, at)))
    found = measure_regions(heatmap, at)
    return {
        "outcome": "scored" if scored.any() else "no tissue",
        "positive_class": heatmap.positive_class,
        "threshold": float(at),
        "cell_um": list(map(float, heatmap.cell_um)),
        "scored_cells": int(scored.sum()),
        "tissue_mm2": float(tissue.sum()),
        "scored_tissue_mm2": scored_mm2,
        "positive_tissue_mm2": above_mm2,
        "positive_tissue_fraction": above_mm2 / scored_mm2 if scored_mm2 > 0 else None,
        "prob": _distribution(heatmap.positive[scored]),
        "histogram": {
            "bins": BINS,
            "tissue_mm2": _tissue_by_prob(heatmap.positive[scored], tissue[scored]),
        },
        "regions": {
            "count": len(found),
            "area_mm2": float(sum(r.area_mm2 for r in found)),
            "largest": [_region_json(r) for r in found[:top]],
        },
        **_uncertain(heatmap, tissue),
    }


def _region_json(region: RegionStats) -> dict[str, Any]:
    fields = asdict(region)
    return fields | {name: list(fields[name]) for name in ("peak0", "centroid0", "box0")}


def _distribution(prob: NDArray[np.float32]) -> dict[str, float | None]:
    """Mean, extremes and percentiles ("p5" ...) of (n,) probabilities; None where n is 0."""
    names = ["mean", "min", "max", *(f"p{p}" for p in PERCENTILES)]
    if not len(prob):
        return dict.fromkeys(names)
    figures = [
        prob.mean(dtype=np.float64),
        prob.min(),
        prob.max(),
        *np.percentile(prob, PERCENTILES),
    ]
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}


def _uncertain(heatmap: Heatmap, tissue: NDArray[np.float64]) -> dict[str, Any]:
    """For summarise(): nothing where nobody asked the model twice."""
    doubt = heatmap.channels.get("uncertainty")
    if doubt is None:
        return {}
    area = float(tissue[doubt > UNCERTAIN].sum())
    scored = float(tissue[np.isfinite(doubt)].sum())
    fraction = area / scored if scored > 0 else None
    return {"uncertain": {"above": UNCERTAIN, "tissue_mm2": area, "tissue_fraction": fraction}}


def _tissue_by_prob(prob: NDArray[np.float32], tissue: NDArray[np.float64]) -> list[float]:
    parts = np.minimum((prob.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    return [float(area) for area in np.bincount(parts, tissue, BINS)]


def _tissue_mm2(heatmap: Heatmap, mask: TissueMask) -> NDArray[np.float64]:
    """Tissue in each cell, as far as the cell is inside the bounds: (rows, columns)."""
    x0, y0 = heatmap.edges_x0, heatmap.edges_y0
    area0 = tissue_areas0(mask, (x0[:-1], x0[1:]), (y0[:-1], y0[1:]))
    return area0 * heatmap.slide_mpp.x * heatmap.slide_mpp.y / 1e6


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
    peak = np.lexsort((value, label))[np.cumsum(total()) - 1]  # the last of each label
    cells, mm2 = total(), area0 * heatmap.slide_mpp.x * heatmap.slide_mpp.y / 1e6
    found = ndimage.find_objects(labels)
    order = np.argsort(-area0, kind="stable")
    return order.tolist(), [
        RegionStats(
            cells=int(cells[i]),
            area_mm2=float(mm2[i]),
            mean_prob=float(means[0, i]),
            max_prob=float(value[peak[i]]),
            peak0=(float(center_x[peak[i]]), float(center_y[peak[i]])),
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
    if not above.any():
        return []
    parts, count = _label(above)
    rings = _trace(above, parts)
    region_of_part = np.zeros(count + 1, np.int64)
    region_of_part[parts[above]] = labels[above] - 1
    return _assemble(rings, region_of_part[1:], np.stack([x0[rings.columns], y0[rings.rows]], 1))


def _assemble(
    rings: "_Rings", region_of_part: NDArray[np.int64], xy0: NDArray[np.float64]
) -> list["Polygon | MultiPolygon"]:
    """Rings to polygons (one for each part, outer ring first), polygons to regions."""
    import shapely

    order = np.lexsort((~rings.is_outer, rings.part, region_of_part[rings.part]))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    corners = np.argsort(rank[rings.ring], kind="stable")
    ends = np.cumsum(np.bincount(rings.ring)[order])
    closed = np.insert(corners, ends, corners[np.append(0, ends[:-1])])
    ring_starts = np.append(0, ends + np.arange(1, len(ends) + 1))
    outer = np.flatnonzero(rings.is_outer[order])
    region = region_of_part[rings.part[order[outer]]]
    polygons = np.searchsorted(region, np.arange(region[-1] + 2))
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.MULTIPOLYGON,
        xy0[closed],
        (ring_starts, np.append(outer, len(order)), polygons),
    )
    alone = np.diff(polygons) == 1
    shapes[alone] = shapely.get_geometry(shapes[alone], 0)
    return list(shapes)


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
