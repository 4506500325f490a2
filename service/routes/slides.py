"""`/v1/slides`: slides on the server."""

import anyio
from fastapi import Request, Response

from service.deps import SHARED_FILES, Cursor, Limit, Parts, Reader, Writer
from service.errors import NotFound
from service.schemas import SlideJson, SlidePage, SlideReference
from service.storage.library import Stored
from service.web.answers import TaggedJson
from service.web.bodies import RAW_BODIES, UNLIMITED, media_type_of, read_json, receive_slide
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(prefix="/v1/slides", tags=["slides"])

BODY = {
    "required": True,
    "content": {
        **RAW_BODIES,
        "application/json": {"schema": SlideReference.model_json_schema()},
    },
}


@router.post(
    "",
    status_code=201,
    response_model=SlideJson,
    responses={
        200: {"model": SlideJson, "description": "The same bytes had come before"},
        **failures(408, 415, 422, 507),
    },
    openapi_extra={"requestBody": BODY},
    max_body_size=UNLIMITED,
)
async def create_slide(request: Request, service: Parts, principal: Writer) -> Response:
    """Stores a slide: its bytes as the body, or JSON that names one below a shared folder."""
    if media_type_of(request) == "application/json":
        stored = await _refer(request, service, principal.tenant)
    else:
        stored = await receive_slide(request, service, principal.owner)
    slide = service.resources.slide(stored.slide)
    headers = {"Location": slide.links.self, "Cache-Control": "no-store"}
    return Response(
        slide.model_dump_json(),
        201 if stored.created else 200,
        headers,
        media_type="application/json",
    )


async def _refer(request: Request, service: Parts, tenant: str) -> Stored:
    reference = await read_json(request, SlideReference, service.settings.max_json_bytes)
    if reference.path is None:
        raise NotFound("no upload has this id")
    add = service.library.add_path
    return await anyio.to_thread.run_sync(add, tenant, reference.path, limiter=SHARED_FILES)


@router.get("", response_model=SlidePage, responses=failures())
def list_slides(
    service: Parts, principal: Reader, limit: Limit = 50, cursor: Cursor = None
) -> SlidePage:
    """The newest first."""
    found = service.library.page(principal.tenant, limit=limit + 1, before=cursor)
    items = [service.resources.slide(slide) for slide in found[:limit]]
    return SlidePage(items=items, next_cursor=items[-1].id if len(found) > limit else None)


@router.get("/{slide_id}", response_model=SlideJson, responses=failures())
def get_slide(slide_id: str, request: Request, service: Parts, principal: Reader) -> Response:
    """Its size and resolution are known once a job has opened it."""
    slide = service.library.get(principal.tenant, slide_id)
    return TaggedJson(service.resources.slide(slide), request.headers)


@router.delete("/{slide_id}", status_code=204, responses=failures(409))
def delete_slide(slide_id: str, service: Parts, principal: Writer) -> None:
    """Its results stay. 409 while a job needs it."""
    service.library.delete(principal.tenant, slide_id)
    service.viewing.forget_slide(principal.tenant, slide_id)
