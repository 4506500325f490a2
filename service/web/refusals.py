"""Every way in which a request can fail, as an answer: the handlers of the application."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import compile_path

from models.errors import ModelError
from service.errors import ServiceError
from service.problems import PROBLEMS, slug_of
from service.web.answers import ProblemAnswer
from wsi.errors import WsiError

__all__ = ["add_handlers"]

log = logging.getLogger(__name__)

SLUG_OF_STATUS = {
    400: "invalid-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
}
"""Of the framework's own errors."""

DETAILS = {
    "invalid-request": "The request cannot be read.",
    "not-found": "Nothing has this address.",
    "too-large": "The body is larger than this address takes.",
}

SHOWN_ERRORS = 20

OF_THE_DATABASE = (OperationalError, PoolTimeout, DataError)


def add_handlers(app: FastAPI) -> None:
    for foreseen in (WsiError, ModelError, ServiceError, OSError, *OF_THE_DATABASE):
        app.add_exception_handler(foreseen, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(Exception, answer_crash)


def answer_error(request: Request, error: Exception) -> Response:
    """The error that a layer below raised on purpose, by the table of problems."""
    if PROBLEMS[slug_of(error)].is_our_fault:
        log.error("request failed", exc_info=error, extra={"request": _request_id(request)})
    return ProblemAnswer.from_error(error, **_about(request))


def answer_crash(request: Request, error: Exception) -> Response:
    """What nobody foresaw; the server logs it."""
    return ProblemAnswer.from_error(error, **_about(request))


def answer_nobody(_request: Request, _error: Exception) -> Response:
    """The client went away in the middle of its body; nobody reads this."""
    return Response(status_code=400)


def answer_invalid(request: Request, error: Exception) -> Response:
    """400 where the address or a field of the head is wrong, 422 where the body is."""
    assert isinstance(error, RequestValidationError)
    problems = [_shown(each) for each in error.errors()[:SHOWN_ERRORS]]
    in_body = all(each["where"] == "body" for each in problems)
    first = problems[0]
    return ProblemAnswer.from_slug(
        "invalid-body" if in_body else "invalid-request",
        f"{first['name'] or first['where']}: {first['why']}",
        errors=problems,
        **_about(request),
    )


def answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug = SLUG_OF_STATUS.get(error.status_code, "internal-error")
    detail = DETAILS.get(slug, "")
    headers = dict(error.headers or {})
    if slug == "method-not-allowed":
        headers["Allow"] = ", ".join(_allowed_methods(request))
        detail = f"{request.method} is not allowed here; use {headers['Allow']}."
    answer = ProblemAnswer.from_slug(slug, detail, **_about(request))
    answer.headers.update(headers)
    return answer


def _about(request: Request) -> dict[str, str]:
    return {"instance": request.url.path, "request_id": _request_id(request)}


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


def _shown(error: dict[str, Any]) -> dict[str, Any]:
    """Where and why; never the value, which may be long or secret."""
    where, *names = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ")
    return {"where": str(where), "name": ".".join(map(str, names)), "why": message}


def _allowed_methods(request: Request) -> Sequence[str]:
    """Of all routes with this address, as RFC 9110 15.5.6 wants it."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.path is not None and compile_path(route.path)[0].match(request.url.path):
            found |= route.methods or set()
    return sorted(found)
