"""A slide goes in, a store of its tissue's tiles comes out: no network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.forecast import forecast_reading
from service.progress import Progress, Silent
from service.request import DEFAULT_MIN_TISSUE, HeatmapRequest
from service.tissue import lay_tiles
from wsi.identity import slide_identity
from wsi.readers import open_slide
from wsi.slide import Slide
from wsi.tiler import TilePlan, holds_tiles, write_tiles

__all__ = ["TilingRequest", "cut_tiles", "forecast_tiles"]


@dataclass(frozen=True)
class TilingRequest:
    """What determines the tiles of a slide."""

    slide: str  # path or URL
    tile_px: int = 50
    tile_mpp: float = 4.0
    stride_px: int | None = None  # None: the tile size
    min_tissue: float = DEFAULT_MIN_TISSUE
    mask: str = "saturation"
    mpp: float | None = None  # of the slide's level 0, where the file does not state it
    reader: str = "auto"
    upsample: bool = False
    mask_frame: str | None = None  # as HeatmapRequest's


def forecast_tiles(request: TilingRequest) -> dict[str, Any]:
    """What cut_tiles() would read, and how long it would take."""
    with _planned(request) as (slide, plan):
        return forecast_reading(slide, plan)


def cut_tiles(
    request: TilingRequest,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes `out`/<slide name>.tiles.zarr, or keeps the equal store that is there.

    Goes on where a stopped run was. Raises WsiError; ResultExists where a different store is there.
    """
    progress = progress or Silent()
    with _planned(request) as (slide, plan):
        target = out / f"{slide.info.name}.tiles.zarr"
        made_from = _made_from(request, slide)
        kept = target.is_dir() and holds_tiles(target, plan, made_from)
        if not kept:
            progress.start("tiles", len(plan))
            write_tiles(
                slide,
                plan,
                target,
                made_from,
                restart=overwrite,
                overwrite=overwrite,
                on_progress=progress.advance,
            )
    return {"tiles": len(plan), "level": plan.level, "store": str(target), "kept": kept}


@contextmanager
def _planned(request: TilingRequest) -> Iterator[tuple[Slide, TilePlan]]:
    """The open slide and its plan."""
    with open_slide(request.slide, request.mpp, request.reader) as slide:
        prepared = lay_tiles(
            slide,
            tile_px=request.tile_px,
            mpp=request.tile_mpp,
            stride_px=request.stride_px,
            mask=request.mask,
            min_tissue=request.min_tissue,
            upsample=request.upsample,
            mask_frame=request.mask_frame,
        )
        yield slide, prepared.plan


def _made_from(request: TilingRequest, slide: Slide) -> dict[str, Any]:
    """A mask of somebody's own stands for its bytes: a path says nothing, and may be private."""
    asked = HeatmapRequest(slide=request.slide, mask=request.mask, mask_frame=request.mask_frame)
    mask = {k: v for k, v in asked.parameters().items() if k in ("mask", "mask_frame")}
    return {"slide": slide_identity(slide.info), **mask, "min_tissue": request.min_tissue}
