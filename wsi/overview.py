"""The whole slide as one small picture, read in strips: for masks, overlays and thumbnails."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, Mpp, Scale, Size, best_level, outer_box
from wsi.resample import area_average, area_weights
from wsi.slide import Slide, require_mpp

__all__ = ["Overview", "read_overview"]

STRIP_PX = 1 << 21  # pixels read at once: 6 MB, and 24 MB as float32, whatever the slide's size


@dataclass(frozen=True)
class Overview:
    """A picture of all of level 0, from its top left corner.

    Pixel (row, column) shows the level-0 rectangle [column, column + 1) * px0.x by
    [row, row + 1) * px0.y; the last ones may reach beyond the slide, and average what is inside.
    """

    rgb: NDArray[np.uint8]  # (height, width, 3)
    mpp: float  # um a pixel, both axes
    px0: Scale  # level-0 px for each px of this picture


def read_overview(slide: Slide, mpp: float) -> Overview:
    """The slide at `mpp` um/px by area average from the best level; finer than level 0: level 0.

    Memory is the picture and one strip. Raises MissingResolution, CorruptSlide.
    """
    slide_mpp = require_mpp(slide.info)
    mpp = max(mpp, slide_mpp.x, slide_mpp.y)
    px0 = Scale(mpp / slide_mpp.x, mpp / slide_mpp.y)
    size = overview_size(slide.info.size, px0)
    rgb = np.empty((size.height, size.width, 3), np.uint8)
    level = pick_level(slide, slide_mpp, mpp)
    rows = max(1, STRIP_PX // _level_pixels_a_row(slide, level, px0))
    for top in range(0, size.height, rows):
        bottom = min(size.height, top + rows)
        rgb[top:bottom] = _read_strip(slide, level, px0, size.width, top, bottom)
    return Overview(rgb, mpp, px0)


def overview_size(size0: Size, px0: Scale) -> Size:
    whole = outer_box(0, 0, size0.width / px0.x, size0.height / px0.y)
    return Size(max(1, whole.width), max(1, whole.height))


def pick_level(slide: Slide, slide_mpp: Mpp, mpp: float) -> int:
    """The coarsest level that is fine enough for `mpp` along both axes."""
    mpps = [
        max(slide_mpp.x * level.downsample.x, slide_mpp.y * level.downsample.y)
        for level in slide.info.levels
    ]
    return best_level(mpps, mpp)


def _level_pixels_a_row(slide: Slide, level: int, px0: Scale) -> int:
    chosen = slide.info.levels[level]
    return max(1, round(chosen.size.width * px0.y / chosen.downsample.y))


def _read_strip(
    slide: Slide, level: int, px0: Scale, width: int, top: int, bottom: int
) -> NDArray[np.uint8]:
    chosen = slide.info.levels[level]
    step_x, step_y = px0.x / chosen.downsample.x, px0.y / chosen.downsample.y
    box = outer_box(0, top * step_y, width * step_x, bottom * step_y)
    box = box.intersection(Box(0, 0, *chosen.size))
    if box.is_empty:  # the level was cut short of level 0's last pixels
        box = Box(0, chosen.size.height - 1, chosen.size.width, 1)
    pixels = slide.read_level(level, box)
    rows = area_weights(top * step_y - box.y, bottom * step_y - box.y, box.height, bottom - top)
    columns = area_weights(0, width * step_x, box.width, width)
    return area_average(pixels, rows, columns)
