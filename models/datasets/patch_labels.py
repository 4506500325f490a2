"""Which class each tile of an annotated slide is of: by the areas of drawn regions. No pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.datasets.annotations import Region
from wsi.grid import TileGrid

__all__ = ["BETWEEN", "COVERAGE", "DISPUTED", "NORMAL", "label_tiles"]

NORMAL = 0
BETWEEN, DISPUTED = -1, -2

COVERAGE = 0.75
"""Least part of a patch that its class covers. Training crops 224 of 256 px, 77 % of the area: of a
patch that is covered by three quarters every crop still shows two thirds of it or more, of one that
is covered by half it could be a third. At 1 all borders and every lesion smaller than a patch are
lost, though outlines are drawn by hand, and wide."""

ROUNDING = 1e-9  # of a patch's area


def label_tiles(
    grid: TileGrid,
    indices: npt.NDArray[np.integer[Any]],
    regions: Iterable[Region],
    coverage: float = COVERAGE,
) -> npt.NDArray[np.int64]:
    """Labels of the tiles at (row, column), int64 (n,).

    The class whose regions together cover at least `coverage` of the tile; NORMAL where nothing but
    normal regions touch it; else BETWEEN, or DISPUTED where regions of two classes lie on each
    other. coverage: above 0.5. Of an edge tile what is off the slide is covered by nothing. What
    lies in a hole of a region is neither covered nor normal.
    """
    import shapely

    rows, columns = indices.T
    boxes = shapely.box(
        grid.starts_x0[columns], grid.starts_y0[rows], grid.ends_x0[columns], grid.ends_y0[rows]
    )
    drawn: dict[int | None, list[Any]] = {}
    for region in regions:
        drawn.setdefault(region.label, []).append(region.shape0)
    holes = shapely.union_all(drawn.pop(None, []))
    whole = {label: shapely.union_all(shapes) for label, shapes in drawn.items()}
    lesions = shapely.union_all([shape for label, shape in whole.items() if label != NORMAL])
    is_touched = _covered(lesions, boxes) > ROUNDING
    labels = np.where(is_touched, BETWEEN, NORMAL)
    claims = np.zeros(len(boxes), np.int64)
    for label, shape in whole.items():
        claimed = _covered(shapely.difference(shape, holes), boxes) >= coverage - ROUNDING
        labels[claimed] = label
        claims += claimed
    labels[claims > 1] = DISPUTED
    return labels.astype(np.int64)


def _covered(shape: Any, boxes: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Part of each box that the shape covers. Only boxes on its border are cut out of it."""
    import shapely

    shapely.prepare(shape)
    covered: npt.NDArray[np.float64] = shapely.contains(shape, boxes).astype(np.float64)
    border = shapely.intersects(shape, boxes) & (covered == 0)
    shared = shapely.intersection(boxes[border], shape)
    covered[border] = shapely.area(shared) / shapely.area(boxes[border])
    return covered
