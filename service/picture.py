"""The slide small, to look at."""

from service.tissue import MASK_MPP
from wsi.overview import Overview, pick_level, read_overview
from wsi.readers.kept import keep_level
from wsi.slide import Slide, require_mpp

__all__ = ["PICTURE_PX", "keep_small", "read_picture"]

PICTURE_PX = 2000  # longer side, about

NEAR_PX = (1200, 3200)
"""A level of the slide with a longer side in this range is shown as it is: shrinking the next finer
one to 2,000 px would decode up to 16 times the pixels, and take seconds."""


def keep_small(slide: Slide) -> Slide:
    """The slide, with the level that its mask is made from in memory where that is small.

    On a small slide the picture and the default model's tiles come from the same level: it is then
    decoded once instead of three times. Raises MissingResolution, CorruptSlide.
    """
    return keep_level(slide, pick_level(slide.info, require_mpp(slide.info), MASK_MPP))


def read_picture(slide: Slide, at_hand: Overview | None = None) -> Overview:
    """The slide about 2,000 px large; `at_hand` (say, the mask's overview) where that will do."""
    if at_hand is not None and max(at_hand.rgb.shape) >= NEAR_PX[0]:
        return at_hand
    mpp = require_mpp(slide.info)
    longest_um = max(slide.info.size.width * mpp.x, slide.info.size.height * mpp.y)
    sides = [max(level.size) for level in slide.info.levels]
    near = [side for side in sides if NEAR_PX[0] <= side <= NEAR_PX[1]]
    return read_overview(slide, longest_um / min(near, default=PICTURE_PX))
