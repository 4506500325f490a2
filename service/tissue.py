"""Where the tissue is, by what somebody asked for: a method, or a mask of their own."""

from pathlib import Path

from wsi.mask import MASK_METHODS, TissueMask, tissue_mask
from wsi.overview import Overview
from wsi.slide import SlideInfo
from wsi.user_mask import read_mask

__all__ = ["MASK_MPP", "find_tissue"]

MASK_MPP = 8.0
"""um/px of the overview that a method looks at."""


def find_tissue(option: str, overview: Overview, info: SlideInfo) -> TissueMask:
    """option: a key of MASK_METHODS, or the path of an image or GeoJSON. Raises InvalidMask."""
    if option in MASK_METHODS:
        return tissue_mask(overview, option)
    return read_mask(Path(option), info)
