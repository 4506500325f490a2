"""The whole slide as one small picture, read in blocks: for masks, overlays and thumbnails."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.cores import each_on_cores
from wsi.errors import SlideTooLarge
from wsi.geometry import Box, Mpp, Scale, Size, best_level, outer_box, round_half_up
from wsi.readers.base import read_shrunk
from wsi.resample import average_box
from wsi.slide import Slide, SlideInfo, require_mpp

__all__ = [
    "MAX_OVERVIEW_PX",
    "Overview",
    "overview_size",
    "pick_level",
    "read_box",
    "read_overview",
]

BLOCK_PX = 1024
"""Side of what is read at once: 3 MB, and 12 MB as float32, whatever the slide's size. Whole file
tiles of any common size where the resolutions are whole multiples, so that none is decoded twice.
Blocks of 2,048 px took 160 MB more on two cores, and a third more time: they leave the caches.
"""

MAX_OVERVIEW_PX = 160 * 10**6
"""At 8 um/px 100 mm a side. Such a picture is 0.5 GB, and a mask of it takes about 23 bytes a px
on the way, 3.7 GB."""

PLAIN_STEPS = (1.0, 2.0)
"""Pixels of the level for one of the picture that average_cells() averages as average_box() does:
of four grey levels both round a half up."""


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

    Memory is the picture and a block a thread. Raises MissingResolution, CorruptSlide, and
    SlideTooLarge where the picture would have MAX_OVERVIEW_PX.
    """
    slide_mpp = require_mpp(slide.info)
    mpp = max(mpp, slide_mpp.x, slide_mpp.y)
    px0 = Scale(mpp / slide_mpp.x, mpp / slide_mpp.y)
    size = overview_size(slide.info, px0)
    rgb = read_box(slide, pick_level(slide.info, slide_mpp, mpp), px0, Box(0, 0, *size))
    return Overview(rgb, mpp, px0)


def read_box(slide: Slide, level: int, px0: Scale, box: Box) -> NDArray[np.uint8]:
    """A box of the picture whose px are `px0` level-0 px, by area average of a level: uint8
    (height, width, 3), a block at a time in each of a few threads.

    What lies beyond the slide is not averaged in; a px wholly beyond it repeats the nearest.
    """
    rgb = np.empty((box.height, box.width, 3), np.uint8)

    def fill(block: Box) -> None:
        source = Box(box.x + block.x, box.y + block.y, block.width, block.height)
        _read_block(slide, level, px0, source, rgb[block.y : block.bottom, block.x : block.right])

    blocks = list(_blocks(Size(box.width, box.height), _steps(slide, level, px0)))
    each_on_cores(fill, blocks)
    return rgb


def overview_size(info: SlideInfo, px0: Scale) -> Size:
    """Of the picture whose px are `px0` level-0 px. Raises SlideTooLarge."""
    whole = outer_box(0, 0, info.size.width / px0.x, info.size.height / px0.y)
    size = Size(max(1, whole.width), max(1, whole.height))
    if size.width * size.height >= MAX_OVERVIEW_PX:
        raise SlideTooLarge(
            f"{info.path}: a picture of all of it would have {size.width} x {size.height} px "
            f"({MAX_OVERVIEW_PX // 10**6} megapixels are too many), {px0.x:g} px of level 0 in "
            "each; where level 0 is not as coarse as it says, pass its resolution (--mpp)"
        )
    return size


def pick_level(info: SlideInfo, slide_mpp: Mpp, mpp: float) -> int:
    """The coarsest level that is fine enough for `mpp` along both axes."""
    mpps = [
        max(slide_mpp.x * level.downsample.x, slide_mpp.y * level.downsample.y)
        for level in info.levels
    ]
    return best_level(mpps, mpp)


def _steps(slide: Slide, level: int, px0: Scale) -> Scale:
    """Pixels of the level for each of the picture."""
    downsample = slide.info.levels[level].downsample
    return Scale(px0.x / downsample.x, px0.y / downsample.y)


def _blocks(size: Size, step: Scale) -> Iterator[Box]:
    """Boxes of the picture whose source is about BLOCK_PX a side."""
    width, height = (max(1, round_half_up(BLOCK_PX / pixels)) for pixels in step)
    for y in range(0, size.height, height):
        for x in range(0, size.width, width):
            yield Box(x, y, width, height).intersection(Box(0, 0, *size))


def _read_block(slide: Slide, level: int, px0: Scale, block: Box, out: NDArray[np.uint8]) -> None:
    """Into `out`, uint8 (height, width, 3) of the block."""
    step, size = _steps(slide, level, px0), slide.info.levels[level].size
    left, right = block.x * step.x, block.right * step.x
    top, bottom = block.y * step.y, block.bottom * step.y
    box = _nearest_inside(outer_box(left, top, right, bottom), size)
    edges = left - box.x, top - box.y, right - box.x, bottom - box.y
    is_plain = step.x == step.y and step.x in PLAIN_STEPS
    if is_plain and not any(np.subtract(edges, (0, 0, box.width, box.height))):
        read_shrunk(slide, level, box, out)  # each native tile while it is in the cache
        return
    out[...] = average_box(slide.read_level(level, box), *edges, (block.height, block.width))


def _nearest_inside(box: Box, size: Size) -> Box:
    """The part inside a level, or its last pixels where the level was cut short before the box."""
    x, y = min(box.x, size.width - 1), min(box.y, size.height - 1)
    right, bottom = min(box.right, size.width), min(box.bottom, size.height)
    return Box(x, y, max(1, right - x), max(1, bottom - y))
