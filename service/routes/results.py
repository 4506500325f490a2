"""`/v1/results/{id}`: a finished heatmap as data: its record, and the files that tools open."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query, Request, Response

from service.deps import Parts, Reader, Writer
from service.schemas import ResultJson
from service.storage.shelf import StoredResult
from service.web.answers import TaggedJson
from service.web.deliveries import MEDIA_TYPES, GeoJson, deliver_file, deliver_zarr
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(prefix="/v1/results/{result_id}", tags=["results"])

Threshold = Annotated[
    float | None,
    Query(ge=0, le=1, allow_inf_nan=False, description="Default: the model's own"),
]
Kind = Literal["tiles", "regions"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

BINARY = {"type": "string", "format": "binary"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "application/geo+json": {"type": "object"},
    "application/json": {},
    "text/csv; charset=utf-8": {"type": "string"},
    "text/html; charset=utf-8": {"type": "string"},
}


def result_of(result_id: str, service: Parts, principal: Reader) -> StoredResult:
    return service.shelf.get(principal.tenant, result_id)


Found = Annotated[StoredResult, Depends(result_of)]


def sends(
    media_type: str, description: str, *more: int, ranges: bool = True
) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that sends a file, of one type or of several with | between; `more`:
    statuses of its refusals."""
    schemas = {media: SCHEMAS.get(media, BINARY) for media in media_type.split("|")}
    content = {"content": {media: {"schema": schema} for media, schema in schemas.items()}}
    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": description, **content},
        304: {"description": "The client has it already"},
    }
    if not ranges:
        return {**answers, **failures(410, *more)}
    return {
        **answers,
        206: {"description": "The part that Range asked for", **content},
        **failures(410, 416, *more),
    }


def get_file(name: str, description: str) -> Callable[[Endpoint], Endpoint]:
    """The route of one of ARTEFACTS that has an address of its own."""
    responses = sends(MEDIA_TYPES[name], description)
    return router.get(f"/{name}", response_class=Response, responses=responses)


@router.get("", response_model=ResultJson, responses=failures(410))
def get_result(found: Found, request: Request, service: Parts) -> Response:
    """The record: model, parameters, grid, statistics, and each file with its sha256."""
    return TaggedJson(service.resources.result(found), request.headers)


@router.delete("", status_code=204, responses=failures(410))
def delete_result(result_id: str, service: Parts, principal: Writer) -> None:
    """Its id answers 410 from now on."""
    service.shelf.delete(principal.tenant, result_id)
    service.viewing.forget_result()


@get_file("heatmap.tif", "Pyramidal tiled OME-TIFF, float32")
def get_heatmap_tiff(found: Found) -> Response:
    """Probabilities as OME-TIFF, for QuPath, Fiji, napari."""
    return deliver_file(found.folder, "heatmap.tif")


@get_file("tiles.csv", "minx,miny,width,height,prob_<class>…, level-0 px")
def get_tiles_csv(found: Found) -> Response:
    """One line a tile, as WSInfer writes them; level-0 px, not shifted by bounds."""
    return deliver_file(found.folder, "tiles.csv")


@get_file("overlay.png", "The heatmap on the slide, for reading")
def get_overlay(found: Found) -> Response:
    """Where the job was asked for the output `overlay`."""
    return deliver_file(found.folder, "overlay.png")


@get_file("tiles.h5", "Coordinates and probabilities")
def get_tiles_hdf5(found: Found) -> Response:
    """Where the job was asked for the output `hdf5`."""
    return deliver_file(found.folder, "tiles.h5")


@get_file("report.html", "A page for people, to be kept")
def get_result_report(found: Found) -> Response:
    """Where the job was asked for the output `report`. Sent as an attachment."""
    return deliver_file(found.folder, "report.html")


@router.get(
    "/heatmap.geojson",
    response_class=Response,
    responses=sends("application/geo+json", "QuPath's GeoJSON, streamed", 507, ranges=False),
)
async def get_heatmap_geojson(
    found: Found, request: Request, kind: Kind = "tiles", threshold: Threshold = None
) -> Response:
    """Tiles with their scores, or outlines of the regions at or above the threshold."""
    return await GeoJson(found, kind, threshold).plain(request)


@router.get(
    "/heatmap.geojson.gz",
    response_class=Response,
    responses=sends("application/gzip", "The same, as a file that QuPath opens", 507),
)
async def get_heatmap_geojson_gz(
    found: Found, request: Request, kind: Kind = "tiles", threshold: Threshold = None
) -> Response:
    """Compressed, as a file."""
    return await GeoJson(found, kind, threshold).compressed(request)


@router.get(
    "/heatmap.zarr/{key:path}",
    response_class=Response,
    responses=sends("application/octet-stream|application/json", "A chunk, or a `zarr.json`"),
)
def get_zarr_file(key: str, found: Found) -> Response:
    """The OME-Zarr 0.5 file by file, for stores that read over HTTP. A missing chunk is 404."""
    return deliver_zarr(found.folder, key)
