"""The slide with the heatmap over it, cropped to the bounds: pixels without any writing."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Scale, Size, round_half_up
from wsi.heatmap import Heatmap, pyramid
from wsi.overview import Overview
from wsi.render import Style, blend, render
from wsi.resample import area_average, area_weights

__all__ = ["Panel", "draw_panel", "plan_panel"]

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
    values = _values_on(heatmap, panel)
    rgb = blend(_slide_on(heatmap, overview, panel), render(values, style))
    if outline_px:
        rgb[_rim(values >= heatmap.threshold, outline_px)] = OUTLINE
    return rgb


def _slide_on(heatmap: Heatmap, overview: Overview, panel: Panel) -> NDArray[np.uint8]:
    height, width = overview.rgb.shape[:2]
    top, left = heatmap.bounds0.y, heatmap.bounds0.x
    bottom = top + panel.size.height * panel.px0.y
    right = left + panel.size.width * panel.px0.x
    rows = area_weights(top / overview.px0.y, bottom / overview.px0.y, height, panel.size.height)
    columns = area_weights(left / overview.px0.x, right / overview.px0.x, width, panel.size.width)
    return area_average(overview.rgb, rows, columns)


def _values_on(heatmap: Heatmap, panel: Panel) -> NDArray[np.float32]:
    """The positive class on the panel's pixels: float32 (height, width)."""
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
    return cells[np.ix_(rows, columns)]


def _rim(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Set pixels within `width` of one that is not set; the picture's edge is no border."""
    core = inside.copy()
    for _ in range(width):
        padded = np.pad(core, 1, mode="edge")
        core &= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
