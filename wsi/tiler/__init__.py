"""Slide and grid to tiles: each native tile of the file decoded once, neighbours cut from it."""

from wsi.tiler.batches import TileBatch
from wsi.tiler.plan import TilePlan, plan_tiles, require_detail
from wsi.tiler.reading import holds_tiles, read_tiles, write_tiles

__all__ = [
    "TileBatch",
    "TilePlan",
    "holds_tiles",
    "plan_tiles",
    "read_tiles",
    "require_detail",
    "write_tiles",
]
