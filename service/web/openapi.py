"""The OpenAPI document: what FastAPI derives, less what it guesses wrong about errors."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import MEDIA_TYPE, PROBLEMS
from service.schemas import Problem

__all__ = ["COMMON", "describe", "failures"]

DESCRIPTION = """\
Errors are `application/problem+json` (RFC 9457). Lists are paged by `limit` and `cursor`. Finished
results never change: their files have strong ETags and may be kept for ever. `Idempotency-Key`
makes a POST safe to send again.
"""

COMMON = (400, 401, 403, 404, 413, 429, 500, 503)
"""What any address below /v1 may answer."""

TITLES = {
    400: "The address, a parameter or a header field is wrong",
    401: "A key or token is needed",
    403: "The key or token may not do this",
    404: "No such thing, or another tenant's",
    406: "None of the accepted types is made here",
    408: "The body stopped coming",
    409: "Not in a state that allows this",
    410: "The result is not kept any more",
    411: "The length of the body has to be stated",
    413: "The body is too large",
    415: "A body of this type is not taken",
    416: "The file has no such range",
    422: "The body, an option or the slide is not what it has to be",
    429: "Too many requests, or too many jobs wait",
    500: "The server's own fault",
    503: "Not now; see Retry-After",
    507: "No room on the disk, or the quota is used up",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: these and the common ones, each a problem."""
    return {status: _failure(status) for status in sorted({*COMMON, *statuses})}


def describe(app: FastAPI) -> None:
    """Makes `app.openapi()` answer the document, made once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _failure(status: int) -> dict[str, Any]:
    types = sorted(f"`{slug}`" for slug, kind in PROBLEMS.items() if kind.status == status)
    return {
        "description": f"{TITLES[status]}: {', '.join(types)}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for operations in found["paths"].values():
        for operation in operations.values():
            _leave_out_guess(operation["responses"])
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for guessed in ("HTTPValidationError", "ValidationError"):
        schemas.pop(guessed, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["Problem"] = problem
    _simplify_tuples(found)
    return found


def _leave_out_guess(responses: dict[str, Any]) -> None:
    """FastAPI lists 422 wherever there is a parameter: ours are 400, and bodies list their own."""
    guessed = responses.get("422", {}).get("content", {}).get("application/json", {})
    if guessed.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
        del responses["422"]


def _simplify_tuples(node: Any) -> None:
    """An array of so many equal items says the same, and more generators of clients know it."""
    if isinstance(node, list):
        for each in node:
            _simplify_tuples(each)
    if not isinstance(node, dict):
        return
    items = node.get("prefixItems")
    if isinstance(items, list) and all(each == items[0] for each in items):
        node["items"] = node.pop("prefixItems")[0]
    for each in node.values():
        _simplify_tuples(each)
