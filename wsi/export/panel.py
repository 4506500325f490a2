"""The slide with the heatmap over it, cropped to the bounds: pixels without any writing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wsi.export.strips import spans_of_rows
from wsi.geometry import Scale, Size, round_half_up
from wsi.heatmap import Heatmap, pyramid
from wsi.overview import Overview
from wsi.render import Style, blend, render
from wsi.resample import average_box

__all__ = ["Panel", "draw_panel", "plan_panel", "strips_of_panel"]

OUTLINE = (20, 20, 20)
LEAST_SIDE_PX = 480  # a slide of a few pixels is enlarged, by a whole number


@dataclass(frozen=True)
class Panel:
    """Pixel (row, column) shows the level-0 rectangle that starts at
    (bounds0.x + column * px0.x, bounds0.y + row * px0.y) and is px0.x by px0.y large."""

    size: Size
    px0: Scale
    mpp: float


def plan_panel(heatmap: Heatmap, overview_mpp: float, most: Size) -> Panel:
    """A panel of the bounds that is at most `most` large, no finer than the overview unless that
    is tiny."""
    slide_mpp, bounds0 = heatmap.slide_mpp, heatmap.bounds0
    width_um, height_um = bounds0.width * slide_mpp.x, bounds0.height * slide_mpp.y
    enlarge = max(1, int(LEAST_SIDE_PX * overview_mpp / max(width_um, height_um)))
    mpp = max(width_um / most.width, height_um / most.height, overview_mpp / enlarge)
    size = Size(*(max(1, round_half_up(um / mpp)) for um in (width_um, height_um)))
    return Panel(size, Scale(mpp / slide_mpp.x, mpp / slide_mpp.y), mpp)


def draw_panel(
    heatmap: Heatmap, overview: Overview, panel: Panel, style: Style, outline_px: int = 0
) -> NDArray[np.uint8]:
    """RGB uint8 (height, width, 3) of the panel's size.

    A pixel has the cell that its centre lies in; where cells are smaller than pixels, of the finest
    level of the heatmap's pyramid whose cells are not. With `outline_px` a dark line runs inside
    the cells at or above the heatmap's threshold, along their border with the others.
    """
    return np.concatenate(list(strips_of_panel(heatmap, overview, panel, style, outline_px)))


def strips_of_panel(
    heatmap: Heatmap, overview: Overview, panel: Panel, style: Style, outline_px: int = 0
) -> Iterator[NDArray[np.uint8]]:
    """draw_panel(), some rows at a time."""
    cells, rows, columns = _cells_on(heatmap, panel)
    colors = render(cells, style)[:, columns]
    inside = (cells >= heatmap.threshold)[:, columns]
    for top, bottom in spans_of_rows(panel.size):
        rgb = _slide_on(heatmap, overview, panel, top, bottom)
        for first, stop in _runs(rows[top:bottom]):
            rgb[first:stop] = blend(rgb[first:stop], colors[rows[top + first], None])
        if outline_px:
            above = min(outline_px, top)
            near = inside[rows[top - above : bottom + outline_px]]
            rgb[_rim(near, outline_px)[above : above + bottom - top]] = OUTLINE
        yield rgb


def _slide_on(
    heatmap: Heatmap, overview: Overview, panel: Panel, top: int, bottom: int
) -> NDArray[np.uint8]:
    """The slide alone on rows `top` to `bottom` of the panel."""
    (x, y), step = heatmap.bounds0[:2], _steps(overview, panel)
    left = x / overview.px0.x
    first, stop = (y / overview.px0.y + row * step.y for row in (top, bottom))
    above = min(int(first), len(overview.rgb) - 1)
    near = overview.rgb[above : max(above + 1, math.ceil(stop))]
    edges = left, first - above, left + panel.size.width * step.x, stop - above
    return average_box(near, *edges, (bottom - top, panel.size.width))


def _steps(overview: Overview, panel: Panel) -> Scale:
    """Pixels of the overview for each of the panel."""
    return Scale(panel.px0.x / overview.px0.x, panel.px0.y / overview.px0.y)


def _cells_on(
    heatmap: Heatmap, panel: Panel
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The positive class on cells that are no smaller than the panel's pixels, and the row and the
    column of cells that each of the panel's rows and columns lies in."""
    ratio = max(panel.px0.x / heatmap.cell0.x, panel.px0.y / heatmap.cell0.y)
    levels = pyramid(heatmap.positive)
    level = min(max(0, math.ceil(math.log2(ratio) - 1e-9)), len(levels) - 1)
    cells = levels[level]
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * px0 / (cell0 * 2**level)).astype(np.int64), count - 1)
        for n, px0, cell0, count in zip(
            panel.size[::-1], panel.px0[::-1], heatmap.cell0[::-1], cells.shape, strict=True
        )
    )
    return cells, rows, columns


def _runs(rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(first, stop) of each stretch of equal numbers."""
    borders = np.flatnonzero(np.diff(rows)) + 1
    return pairwise([0, *borders.tolist(), len(rows)])


def _rim(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Set pixels within `width` of one that is not set, along rows and columns; the picture's edge
    is no border."""
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    core = cv2.erode(inside.view(np.uint8), cross, iterations=width)
    return inside & ~np.asarray(core, np.bool_)
