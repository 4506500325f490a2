"""How addresses are registered."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse

__all__ = ["Router"]


class Router(APIRouter):
    """What answers GET answers HEAD too, by the same function; the document leaves that out.

    Not so of events, which would go on without an end.
    """

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        **options: Any,
    ) -> None:
        super().add_api_route(path, endpoint, methods=methods, **options)
        is_endless = options.get("response_class") is EventSourceResponse
        if methods is not None and set(methods) == {"GET"} and not is_endless:
            head = {**options, "include_in_schema": False}
            super().add_api_route(path, endpoint, methods=["HEAD"], **head)
