"""The slide small, to look at."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.export.output import partial_file
from wsi.overview import Overview, read_overview
from wsi.slide import Slide, require_mpp

__all__ = ["PICTURE_PX", "read_picture", "write_png"]

PICTURE_PX = 2000  # longer side, about


def read_picture(slide: Slide, at_hand: Overview | None = None) -> Overview:
    """The slide about 2,000 px large; `at_hand` (say, the mask's overview) where that will do."""
    if at_hand is not None and max(at_hand.rgb.shape) >= PICTURE_PX / 2:
        return at_hand
    mpp = require_mpp(slide.info)
    longest_um = max(slide.info.size.width * mpp.x, slide.info.size.height * mpp.y)
    return read_overview(slide, longest_um / PICTURE_PX)


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """uint8 (height, width) or (height, width, 3), whole or not at all."""
    from PIL import Image

    with partial_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
