"""Whole-slide images: readers, tissue masks, tiles, heatmaps and their exports.

Names load when they are used, so that `import wsi` costs nothing.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Box": "wsi.geometry",
    "Heatmap": "wsi.heatmap",
    "Mpp": "wsi.geometry",
    "Size": "wsi.geometry",
    "Slide": "wsi.slide",
    "SlideInfo": "wsi.slide",
    "TileGrid": "wsi.grid",
    "TissueMask": "wsi.mask",
    "WsiError": "wsi.errors",
    "assemble": "wsi.heatmap",
    "open_slide": "wsi.readers",
    "plan_tiles": "wsi.tiler",
    "read_overview": "wsi.overview",
    "read_tiles": "wsi.tiler",
    "select_tiles": "wsi.grid",
    "tissue_mask": "wsi.mask",
}

__all__ = list(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'wsi' has no attribute {name!r}")
