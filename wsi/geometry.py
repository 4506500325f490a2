"""Sizes, boxes, resolutions, levels. Every rounding rule of the project lives here."""

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "LEVEL_TOLERANCE",
    "MPP_RANGE",
    "TILE_PX_RANGE",
    "Box",
    "Mpp",
    "Scale",
    "Size",
    "best_level",
    "downsample_from_sizes",
    "is_plausible_mpp",
    "outer_box",
    "round_half_up",
]

MPP_RANGE = (0.05, 60.0)
"""um/px. Outside it a value is a program's default, not a measurement: 72 dpi reads as 352.8 um/px,
96 dpi as 264.6, 300 dpi as 84.7. 0.05 is a 200x objective, 60 a coarse overview."""

TILE_PX_RANGE = (16, 16_384)
"""Side of a tile. Of the upper end one tile is 805 MB; a slide at 4 um/px has about as much."""

LEVEL_TOLERANCE = 1.05
"""A level may be this much coarser than the target: scanners write 0.2503 um/px for 40x, and a
strict rule would read 16 times the pixels for 4 um/px."""


class Size(NamedTuple):
    width: int
    height: int


class Mpp(NamedTuple):
    """Micrometres a pixel, by axis."""

    x: float
    y: float


class Scale(NamedTuple):
    """Pixels of one frame for each pixel of another, by axis."""

    x: float
    y: float


class Box(NamedTuple):
    """Left, top, width, height, in whole pixels of the frame that the variable's name states."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def is_empty(self) -> bool:
        return self.width <= 0 or self.height <= 0

    def intersection(self, other: "Box") -> "Box":
        """The common part, in the same frame; empty (width or height 0) where there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        width = max(0, min(self.right, other.right) - x)
        return Box(x, y, width, max(0, min(self.bottom, other.bottom) - y))


def round_half_up(value: float) -> int:
    """floor(value + 0.5): halves go up everywhere, so that neighbours share their border."""
    return math.floor(value + 0.5)


def outer_box(left: float, top: float, right: float, bottom: float) -> Box:
    """The smallest box of whole pixels that holds the rectangle.

    Edges within 1e-6 px of a whole pixel count as being on it: they are products of decimal
    fractions, and a whole column would be read for a rounding error.
    """
    x, y = math.floor(left + 1e-6), math.floor(top + 1e-6)
    return Box(x, y, math.ceil(right - 1e-6) - x, math.ceil(bottom - 1e-6) - y)


def is_plausible_mpp(value: float) -> bool:
    return math.isfinite(value) and MPP_RANGE[0] <= value <= MPP_RANGE[1]


def downsample_from_sizes(size0: Size, size: Size) -> Scale:
    """Level-0 pixels for each pixel of a level, from the two sizes.

    Writers shrink by a whole number and cut or round up the last pixel, so 4443 -> 1110 is a factor
    of 4, not 4.0027: taking the ratio would shift the level's far edge by 12 level-0 pixels. Where
    one whole factor explains both axes to the pixel it is used for both, else each axis's ratio.
    """
    # the longer side says it more exactly: 181 x 64 -> 16 x 5 is a factor of 11, not of 12
    factor = round_half_up(max(size0) / max(size))
    if factor >= 1 and all(
        n0 // factor <= n <= -(-n0 // factor) for n0, n in zip(size0, size, strict=True)
    ):
        return Scale(float(factor), float(factor))
    return Scale(size0.width / size.width, size0.height / size.height)


def best_level(level_mpps: Sequence[float], target_mpp: float) -> int:
    """The coarsest level whose mpp is at most 1.05 times the target; 0 where none is."""
    fine_enough = [i for i, mpp in enumerate(level_mpps) if mpp <= LEVEL_TOLERANCE * target_mpp]
    return max(fine_enough, key=lambda i: level_mpps[i], default=0)
