"""Around the whole application, in plain ASGI: request ids, headers, bodies that stop coming.

The outermost of all, so that an answer to a crash has them too.
"""

import asyncio
import logging
import re
import secrets
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.answers import ProblemAnswer

__all__ = ["REQUEST_ID", "Edge"]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered, for logs and problems."""

GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

PLAIN_ERRORS = {400: "invalid-request", 413: "too-large"}
"""Status that a library below answers by itself in plain text → slug of ours."""

STALL_S = 120.0
"""Longer than `upload_stall_s`: the answer to a slide that stops coming says so."""

log = logging.getLogger(__name__)


class Edge:
    """A request's id is the client's, where it sent a sensible one. A client of whose body nothing
    comes for `stall_s` counts as one that has gone."""

    def __init__(self, app: ASGIApp, stall_s: float = STALL_S) -> None:
        self._app, self._stall_s = app, stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        receive = _Body(receive, self._stall_s).receive
        answer = _Answer(scope, receive, send, request_id)
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            if not answer.is_started:
                raise
            # ServerErrorMiddleware has answered (or the body broke off): raising again would only
            # make the server log it twice
            log.exception("request failed", extra={"request": request_id})
            if not answer.is_complete:
                raise


class _Body:
    """What is received, as long as something comes. After a body's end one waits without a limit:
    for the client to go."""

    def __init__(self, receive: Receive, stall_s: float) -> None:
        self._receive, self._stall_s = receive, stall_s
        self._is_whole = False

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._stall_s):
                message = await self._receive()
        except TimeoutError:
            message = {"type": "http.disconnect"}
        self._is_whole = not message.get("more_body")
        return message


class _Answer:
    """Adds the headers that every answer has; turns plain errors of libraries into problems."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._request_id = request_id
        self._is_replaced = False
        self.is_started = self.is_complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            headers = MutableHeaders(raw=list(message["headers"]))
            plain = headers.get("content-type", "").startswith("text/plain")
            slug = PLAIN_ERRORS.get(message["status"]) if plain else None
            if slug is not None:
                await self._replace(slug)
                return
            self._add(headers)
            message = {**message, "headers": headers.raw}
        elif self._is_replaced:
            return
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.is_complete = True

    async def _replace(self, slug: str) -> None:
        self._is_replaced = True
        detail = "The body is larger than this address takes."
        answer = ProblemAnswer.from_slug(
            slug,
            detail if slug == "too-large" else "The request cannot be read.",
            instance=self._scope["path"],
            request_id=self._request_id,
        )
        self._add(answer.headers)
        await answer(self._scope, self._receive, self._send)
        self.is_complete = True

    def _add(self, headers: MutableHeaders) -> None:
        headers["X-Request-Id"] = self._request_id
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Referrer-Policy", "no-referrer")
