"""Where the tissue is, by what somebody asked for, and the tiles that lie on it."""

from dataclasses import dataclass
from pathlib import Path

from wsi.grid import TileGrid, select_tiles
from wsi.mask import MASK_METHODS, TissueMask, tissue_mask
from wsi.overview import Overview, read_overview
from wsi.slide import Slide, SlideInfo, require_mpp
from wsi.tiler import TilePlan, plan_tiles, require_detail
from wsi.user_mask import read_mask

__all__ = ["MASK_MPP", "Prepared", "find_tissue", "lay_tiles"]

MASK_MPP = 8.0
"""um/px of the overview that a method looks at."""


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first tile is read."""

    mask: TissueMask
    grid: TileGrid
    plan: TilePlan
    overview: Overview  # at the mask's resolution


def find_tissue(
    option: str, overview: Overview, info: SlideInfo, frame: str | None = None
) -> TissueMask:
    """option: a key of MASK_METHODS, or the path of an image or GeoJSON; frame: of a GeoJSON, as of
    read_mask(). Raises InvalidMask, InvalidOption."""
    if option in MASK_METHODS:
        return tissue_mask(overview, option)
    return read_mask(Path(option), info, frame)


def lay_tiles(
    slide: Slide,
    *,
    tile_px: int,
    mpp: float,
    stride_px: int | None,
    mask: str,
    min_tissue: float,
    upsample: bool,
    mask_frame: str | None = None,
) -> Prepared:
    """Mask, grid and plan: what would be read and how many tiles, without reading them.

    tile_px, stride_px: at `mpp` um/px; stride_px None: no overlap. mask, mask_frame: as of
    find_tissue(). A slide that is too coarse is refused before its picture, which would be all of
    it, is read.
    """
    info = slide.info
    slide_mpp = require_mpp(info)
    require_detail(info, slide_mpp, mpp, allow_upsampling=upsample)
    grid = TileGrid.over(
        info.size,
        slide_mpp,
        tile_px=tile_px,
        mpp=mpp,
        stride_px=stride_px,
        bounds0=info.bounds,
    )
    overview = read_overview(slide, MASK_MPP)
    tissue = find_tissue(mask, overview, info, mask_frame)
    indices = select_tiles(grid, tissue, min_tissue)
    plan = plan_tiles(info, grid, indices, allow_upsampling=upsample)
    return Prepared(tissue, grid, plan, overview)
