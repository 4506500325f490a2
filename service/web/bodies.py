"""Bodies of requests: slides that stream to the disk, and small JSON."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.access.auth import Owner
from service.deps import Service
from service.errors import InvalidRequest, TooLarge, UnsupportedMedia
from service.storage.digests import sha256_from_digests
from service.storage.library import Stored
from service.web.forms import SlideForm

__all__ = [
    "RAW_BODIES",
    "UNLIMITED",
    "content_length_of",
    "media_type_of",
    "open_form",
    "read_json",
    "receive_slide",
]

UNLIMITED = 1 << 62
"""`max_body_size` of a route whose body the library limits while it streams (max_slide_bytes)."""

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
NO_SLIDES = (URLENCODED, "application/json")

BINARY = {"schema": {"type": "string", "format": "binary"}}
RAW_BODIES: dict[str, Any] = {
    "application/octet-stream": BINARY,
    "image/tiff": BINARY,
    "application/zip": BINARY,
}
"""For OpenAPI; any other type but a form's is taken as well."""

Body = TypeVar("Body", bound=BaseModel)


def media_type_of(request: Request) -> str | None:
    """Lower case, without parameters; None where the client does not say."""
    field = request.headers.get("content-type")
    return field.partition(";")[0].strip().lower() if field else None


def content_length_of(request: Request) -> int | None:
    field = request.headers.get("content-length")
    if field is None:
        return None
    if not (field.isascii() and field.isdigit() and len(field) < 20):
        raise InvalidRequest("Content-Length is no number")
    return int(field)


async def receive_slide(request: Request, service: Service, owner: Owner) -> Stored:
    """The raw body, to the disk while it comes. Raises what Library.receive() raises."""
    media_type = media_type_of(request)
    if media_type in NO_SLIDES or media_type == MULTIPART:
        raise UnsupportedMedia(explain_type(media_type, request))
    return await service.library.receive(
        owner.tenant,
        request.stream(),
        media_type=media_type,
        content_length=content_length_of(request),
        sha256=sha256_of(request),
        key_id=owner.key_id,
    )


def open_form(request: Request, service: Service) -> SlideForm:
    """A multipart form that holds a slide. Raises InvalidRequest, TooLarge."""
    limit = service.settings.max_form_bytes
    if (content_length_of(request) or 0) > limit:
        raise TooLarge(
            f"a form of more than {limit} bytes; send the file itself: {command(request)}"
        )
    return SlideForm(request.headers["content-type"], request.stream(), limit_bytes=limit)


def sha256_of(request: Request) -> str | None:
    names = ("content-digest", "repr-digest")
    return sha256_from_digests([value for name in names for value in request.headers.getlist(name)])


def explain_type(media_type: str | None, request: Request) -> str:
    """What a client does wrong that sends this type, and the command that does it right."""
    said = (
        "curl --data says a web form is coming"
        if media_type == URLENCODED
        else (f"{media_type} holds no slide")
    )
    return f"{said}; send the file itself: {command(request)}"


def command(request: Request) -> str:
    url = f"{request.base_url}".rstrip("/") + request.url.path
    return (
        f"curl -X POST -T slide.svs -H 'Accept: image/png' -H 'Prefer: wait=60' {url} "
        "-o heatmap.png"
    )


async def read_json(request: Request, model: type[Body], limit_bytes: int) -> Body:
    """A small JSON body on a route that takes slides too. Raises TooLarge, and what FastAPI raises
    for a wrong body."""
    body = b"".join([chunk async for chunk in _limited(request, limit_bytes)])
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(errors) from error


async def _limited(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > limit_bytes:
            raise TooLarge(f"a JSON body of more than {limit_bytes} bytes")
        yield chunk
