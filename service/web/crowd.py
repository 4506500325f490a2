"""How many requests are answered at once: what comes on top is told so, and costs next to nothing.

uvicorn's own limit answers in plain text, without an id or Retry-After, and counts connections that
ask for nothing, so that whoever opens enough of them shuts everybody out.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.answers import ProblemAnswer

__all__ = ["MOST", "Crowd"]

MOST = 1000
"""Requests at once, streams of events among them: each holds a few dozen kB and a descriptor."""

ALWAYS = ("/livez", "/readyz", "/metrics")
"""A process that is busy must not be taken for a dead one and started anew."""


class Crowd:
    """ASGI around an application."""

    def __init__(self, app: ASGIApp, most: int = MOST) -> None:
        self._app, self._most = app, most
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        if self._count >= self._most:
            await self._refuse(scope, receive, send)
            return
        self._count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._count -= 1

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = ProblemAnswer.from_slug(
            "busy",
            f"{self._most} requests are being answered; send this one again in a few seconds",
            instance=scope["path"],
            request_id=scope.get("state", {}).get("request_id", ""),
        )
        await answer(scope, receive, send)
