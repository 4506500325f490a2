"""A heatmap as pictures and tiles, coloured as the client asks: PNG, Deep Zoom, XYZ, one point."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.errors import NotFound
from service.pictures.tiles import COLORMAP, Colouring
from service.pictures.viewing import SeenResult, find_tile, find_xyz
from service.problems import Refusal
from service.routes.pictures import (
    TILES,
    WHOLE_PICTURES,
    kept_descriptor,
    kept_picture,
    seen_result,
    viewing_of,
)
from service.web.answers import TaggedJson
from service.web.openapi import failures
from service.web.routing import Router
from wsi.deepzoom import TILE_PX, Address
from wsi.errors import InvalidOption
from wsi.render import Style

__all__ = ["router"]

router = Router(prefix="/v1/results/{result_id}", tags=["viewing"])

MOST_PX = 4096
DEFAULT_PX = 1024

Unit = Query(ge=0, le=1, allow_inf_nan=False)
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "RGBA; transparent where no score is"}
}

DZI: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/xml": {}}, "description": "Deep Zoom descriptor"}
}


async def colouring(
    cmap: Annotated[COLORMAP, Query(description="Colour map")] = "viridis",
    vmin: Annotated[float, Unit] = 0.0,
    vmax: Annotated[float, Unit] = 1.0,
    threshold: Annotated[float | None, Unit] = None,
    alpha: Annotated[float, Unit] = 1.0,
    fade: Annotated[
        float,
        Query(ge=0, le=1, allow_inf_nan=False, description="Opacity at vmin, as a part of alpha"),
    ] = 1.0,
    name: Annotated[
        str | None,
        Query(
            alias="class",
            max_length=100,
            description="Of the model, or a channel; default: the positive class",
        ),
    ] = None,
) -> Colouring:
    """Out of the query; what is below the threshold is not shown. Raises Refusal."""
    try:
        return Colouring(Style(cmap, vmin, vmax, threshold, alpha, fade), name)
    except InvalidOption as error:
        raise Refusal("invalid-request", str(error)) from error


Seen = Annotated[SeenResult, Depends(seen_result)]
Coloured = Annotated[Colouring, Depends(colouring)]


@router.get("/heatmap.png", response_class=Response, responses=PNG | failures(410))
async def get_heatmap_png(
    request: Request,
    seen: Seen,
    coloured: Coloured,
    longest_px: Annotated[
        int, Query(alias="max", ge=1, le=MOST_PX, description="Longer side, px")
    ] = DEFAULT_PX,
) -> Response:
    """All of level 0, transparent where nothing was scored."""
    _require_class(seen, coloured)
    heatmaps = viewing_of(request).heatmaps
    asked = (seen.heatmap, longest_px, coloured.style, coloured.name)
    return await kept_picture(
        request,
        "image/png",
        seen.etag(longest_px, coloured),
        lambda: heatmaps.cached_picture(*asked),
        lambda: WHOLE_PICTURES.make(request, lambda: heatmaps.picture(*asked), seen.stored.tenant),
    )


@router.get(
    "/heatmap.dzi",
    response_class=Response,
    responses=DZI | failures(410),
)
async def get_heatmap_dzi(request: Request, seen: Seen) -> Response:
    """Deep Zoom over the slide's level 0, so that it lies on the slide's own pyramid."""
    return kept_descriptor(request, seen.etag("dzi"), seen.pyramid.dzi("png"))


@router.get(
    "/heatmap_files/{level:number}/{column:number}_{row:number}.png",
    response_class=Response,
    responses=PNG | failures(410),
)
async def get_heatmap_tile(
    request: Request,
    level: Annotated[int, Path()],
    column: Annotated[int, Path()],
    row: Annotated[int, Path()],
    seen: Seen,
    coloured: Coloured,
) -> Response:
    """A Deep Zoom tile: 256 px, no overlap."""
    return await _tile(request, seen, find_tile(seen.pyramid, level, column, row), coloured)


@router.get(
    "/tiles/{z:number}/{x:number}/{y:number}.png",
    response_class=Response,
    responses=PNG | failures(410),
)
async def get_heatmap_xyz(
    request: Request,
    z: Annotated[int, Path()],
    x: Annotated[int, Path()],
    y: Annotated[int, Path()],
    seen: Seen,
    coloured: Coloured,
) -> Response:
    """A tile of 256 px; at z = 0 one holds the whole slide."""
    return await _tile(request, seen, find_xyz(seen.pyramid, z, x, y), coloured)


async def _tile(
    request: Request, seen: SeenResult, address: Address, coloured: Colouring
) -> Response:
    _require_class(seen, coloured)
    heatmaps = viewing_of(request).heatmaps
    asked = (seen.heatmap, address, coloured.style, coloured.name)
    return await kept_picture(
        request,
        "image/png",
        seen.etag(address, coloured),
        lambda: heatmaps.cached(*asked),
        lambda: TILES.make(request, lambda: heatmaps.tile(*asked), seen.stored.tenant),
    )


class TileJson(BaseModel):
    """TileJSON 3.0.0 in px instead of degrees: at `maxzoom` a px is a level-0 px of the slide."""

    tilejson: Literal["3.0.0"] = "3.0.0"
    name: str
    scheme: Literal["xyz"] = "xyz"
    tiles: list[str]
    minzoom: int = 0
    maxzoom: int
    tile_px: int = TILE_PX
    size0: tuple[int, int] = Field(description="Width and height of level 0, px")
    mpp: tuple[float, float] = Field(description="um/px of level 0, x and y")


@router.get("/tilejson.json", response_model=TileJson, responses=failures(410))
async def get_tilejson(request: Request, seen: Seen) -> Response:
    """Where the XYZ tiles are."""
    service = request.app.state.service
    base = (service.settings.public_url or "").rstrip("/")
    body = TileJson(
        name=seen.stored.id,
        tiles=[f"{base}/v1/results/{seen.stored.id}/tiles/{{z}}/{{x}}/{{y}}.png"],
        maxzoom=seen.pyramid.deepest_z,
        size0=seen.view.size0,
        mpp=seen.view.slide_mpp,
    )
    return TaggedJson(body, request.headers)


class PointJson(BaseModel):
    """What the heatmap says at a point of the slide."""

    x0: float
    y0: float
    cell0: tuple[int, int, int, int] = Field(
        description="x, y, width, height of the cell, level-0 px: its tile's, without overlap"
    )
    prob: dict[str, float] = Field(description="By class", examples=[{"non_idc": 0.1, "idc": 0.9}])
    channels: dict[str, float] = Field(
        description="Besides, by name", examples=[{"raw": 0.8, "uncertainty": 0.05}]
    )
    positive: float = Field(description="Of the positive class")
    threshold: float = Field(description="At or above it the class is taken as found")


@router.get("/point", response_model=PointJson, responses=failures(410))
async def get_point(
    request: Request,
    seen: Seen,
    x0: Annotated[float, Query(allow_inf_nan=False, description="Level-0 px")],
    y0: Annotated[float, Query(allow_inf_nan=False, description="Level-0 px")],
) -> Response:
    """The probability there, and its tile; 404 where nothing was scored."""
    found = await run_in_threadpool(seen.view.at, x0, y0)
    if found is None:
        raise NotFound(f"nothing was scored at x0 {x0:g}, y0 {y0:g}")
    body = PointJson(
        x0=x0,
        y0=y0,
        cell0=found.box0,
        prob=found.prob,
        channels=found.channels,
        positive=found.prob[seen.view.positive_class],
        threshold=seen.view.threshold,
    )
    return TaggedJson(body, request.headers)


def _require_class(seen: SeenResult, coloured: Colouring) -> None:
    names = seen.view.names
    if coloured.name is not None and coloured.name not in names:
        raise Refusal("invalid-request", f"class {coloured.name!r}: use one of {', '.join(names)}")
