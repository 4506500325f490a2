"""What the routes of viewers share: who may see it, and pictures that never change."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from service.access.auth import Principal
from service.deps import Service, allowed
from service.pictures.viewing import SeenResult, SeenSlide, Viewing
from service.web.answers import IMMUTABLE, etag_matches, head_only
from service.web.shares import Shares

__all__ = [
    "SLIDE_PICTURES",
    "TILES",
    "WHOLE_PICTURES",
    "kept_descriptor",
    "kept_picture",
    "seen_result",
    "seen_slide",
    "viewing_of",
]

Seen = TypeVar("Seen")

OPENING = anyio.CapacityLimiter(8)
"""Requests that find a slide at once: one may be opened for it, or read whole where its file looks
touched, and other requests need the threads."""

SLIDE_PICTURES = Shares(8, 6, 4)
"""Made at once of slides, by tenant and slide: a slide without coarse levels takes seconds of
decoding for each, and everything else, authentication too, has its threads beside them."""

TILES = Shares(8, 6)
"""Made at once of heatmaps, by tenant."""

WHOLE_PICTURES = Shares(3, 2)
"""The same of whole heatmaps: at 4096 px one takes 270 MB and 2.5 s."""


class Number(Convertor[int]):
    """`{column:number}`: no slide has more tiles. Starlette's own `int` takes any number of digits,
    and fails where Python does not."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", Number())


async def seen_result(request: Request) -> SeenResult:
    """The result of the address, for one who may see it; a dependency.

    A coroutine that asks a thread only where nothing is known: a viewer asks for hundreds of tiles
    at once, and changing threads would take longer than sending them.
    """
    viewing = viewing_of(request)
    result_id = request.path_params["result_id"]
    key = (result_id, *_shown(request))
    seen = viewing.results.get(key)
    if seen is None:
        seen = await run_in_threadpool(_see, request, viewing.result, result_id)
        viewing.results.put(key, seen)
    return seen


async def seen_slide(request: Request) -> SeenSlide:
    """As seen_result, of a slide."""
    viewing = viewing_of(request)
    slide_id = request.path_params["slide_id"]
    key = (slide_id, *_shown(request))
    seen = viewing.slides.get(key)
    if seen is None:
        see = partial(_see, request, viewing.slide, slide_id)
        seen = await anyio.to_thread.run_sync(see, limiter=OPENING)
        viewing.slides.put(key, seen)
    return seen


async def kept_picture(
    request: Request,
    media_type: str,
    etag: str,
    cached: Callable[[], bytes | None],
    make: Callable[[], Awaitable[bytes]],
) -> Response:
    """A picture that never changes: 304 where the client has it, from memory where that has it."""
    fields = {"ETag": etag, "Cache-Control": IMMUTABLE}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(None, 304, fields)
    made = cached()
    if made is None and request.method == "HEAD":
        return head_only(fields, media_type)
    if made is None:
        made = await make()
    return Response(made, 200, fields, media_type)


def kept_descriptor(request: Request, etag: str, dzi: bytes) -> Response:
    """Of a Deep Zoom pyramid, which never changes either."""
    fields = {"ETag": etag, "Cache-Control": IMMUTABLE}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(None, 304, fields)
    return Response(dzi, 200, fields, "application/xml")


def _see(request: Request, find: Callable[[Principal, str], Seen], thing: str) -> Seen:
    service: Service = request.app.state.service
    return find(allowed(service.authenticate(request), "read"), thing)


def _shown(request: Request) -> tuple[str | None, str | None]:
    """What says who asks: two with the same are the same."""
    return request.headers.get("authorization"), request.query_params.get("tk")


def viewing_of(request: Request) -> Viewing:
    service: Service = request.app.state.service
    viewing: Viewing = service.viewing
    return viewing
