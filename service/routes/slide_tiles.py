"""The slide itself for viewers: Deep Zoom and a thumbnail. Label and macro images have no route."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from starlette.responses import Response

from service.pictures.viewing import SeenSlide, find_tile
from service.routes.pictures import (
    SLIDE_PICTURES,
    kept_descriptor,
    kept_picture,
    seen_slide,
    viewing_of,
)
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(prefix="/v1/slides/{slide_id}", tags=["viewing"])

MOST_PX = 2048
DEFAULT_PX = 512

DZI: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/xml": {}}, "description": "Deep Zoom descriptor"}
}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}

Seen = Annotated[SeenSlide, Depends(seen_slide)]


@router.get(
    "/slide.dzi",
    response_class=Response,
    responses=DZI | failures(409, 422),
)
async def get_slide_dzi(request: Request, seen: Seen) -> Response:
    """Deep Zoom over level 0."""
    return kept_descriptor(request, seen.etag("dzi"), seen.pyramid.dzi("jpeg"))


@router.get(
    "/slide_files/{level:number}/{column:number}_{row:number}.jpeg",
    response_class=Response,
    responses=JPEG | failures(409, 422),
)
async def get_slide_tile(
    request: Request,
    level: Annotated[int, Path()],
    column: Annotated[int, Path()],
    row: Annotated[int, Path()],
    seen: Seen,
) -> Response:
    """A Deep Zoom tile: 256 px, no overlap."""
    address, viewing = find_tile(seen.pyramid, level, column, row), viewing_of(request)
    return await kept_picture(
        request,
        "image/jpeg",
        seen.etag(address),
        lambda: viewing.cached(seen, address),
        lambda: _make(request, seen, partial(viewing.slide_tile, seen, address)),
    )


@router.get("/thumbnail.jpg", response_class=Response, responses=JPEG | failures(409, 422))
async def get_thumbnail(
    request: Request,
    seen: Seen,
    longest_px: Annotated[
        int, Query(alias="max", ge=1, le=MOST_PX, description="Longer side, px")
    ] = DEFAULT_PX,
) -> Response:
    """The whole slide, small."""
    viewing = viewing_of(request)
    return await kept_picture(
        request,
        "image/jpeg",
        seen.etag("thumbnail", longest_px),
        lambda: viewing.cached(seen, longest_px),
        lambda: _make(request, seen, partial(viewing.thumbnail, seen, longest_px)),
    )


async def _make(request: Request, seen: SeenSlide, draw: Callable[[], bytes]) -> bytes:
    return await SLIDE_PICTURES.make(request, draw, seen.stored.tenant, seen.stored.id)
