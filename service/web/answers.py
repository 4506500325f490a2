"""Answers that HTTP knows more about than FastAPI: problems, files, what the client has already."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from service.errors import ResultExpired
from service.problems import MEDIA_TYPE, PROBLEMS, Refusal, problem, problem_of, slug_of
from service.web.ranges import parse_range

__all__ = [
    "IMMUTABLE",
    "NO_STORE",
    "FileAnswer",
    "ProblemAnswer",
    "TaggedJson",
    "etag_matches",
    "head_only",
]

IMMUTABLE = "private, max-age=31536000, immutable"
NO_STORE = "no-store"
BLOCK_BYTES = 256 << 10


class ProblemAnswer(JSONResponse):
    media_type = MEDIA_TYPE

    @classmethod
    def from_problem(
        cls, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> "ProblemAnswer":
        slug = str(body["type"]).rpartition("/")[2]
        kind = PROBLEMS.get(slug)
        fields = {"Cache-Control": NO_STORE, **(headers or {})}
        if kind and kind.retry_after_s is not None:
            fields.setdefault("Retry-After", str(kind.retry_after_s))
        if slug == "not-authenticated":
            fields.setdefault("WWW-Authenticate", 'Bearer realm="wsi"')
        return cls(dict(body), int(body["status"]), fields)

    @classmethod
    def from_slug(cls, slug: str, detail: str, **more: Any) -> "ProblemAnswer":
        return cls.from_problem(problem(slug, detail, **more))

    @classmethod
    def from_error(cls, error: Exception, **more: Any) -> "ProblemAnswer":
        """`retry_after_s` of the error, where it has one, goes before that of the table."""
        headers = dict(error.headers) if isinstance(error, Refusal) else {}
        wait = getattr(error, "retry_after_s", None)
        if wait is not None and PROBLEMS[slug_of(error)].retry_after_s is not None:
            headers["Retry-After"] = str(max(1, round(wait)))
        return cls.from_problem(problem_of(error, **more), headers)


def etag_matches(field: str | None, etag: str) -> bool:
    """If-None-Match: the weak comparison of RFC 9110 8.8.3.2."""
    if field is None:
        return False
    named = {name.strip().removeprefix("W/") for name in field.split(",")}
    return "*" in named or etag.removeprefix("W/") in named


class TaggedJson(Response):
    """An object with a strong ETag of its bytes; 304 where the client has it."""

    media_type = "application/json"

    def __init__(self, body: BaseModel, request: Headers, cache: str = "private, no-cache") -> None:
        content = body.model_dump_json().encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        fields = {"ETag": etag, "Cache-Control": cache}
        if etag_matches(request.get("if-none-match"), etag):
            super().__init__(None, 304, fields)
        else:
            super().__init__(content, 200, fields)


def head_only(fields: Mapping[str, str], media_type: str) -> Response:
    """To HEAD, of what is not made for its sake: without a length."""
    answer = Response(None, 200, fields, media_type)
    del answer.headers["content-length"]
    return answer


class FileAnswer(Response):
    """A file that never changes: GET and HEAD, one Range, If-Range, If-None-Match.

    `etag`: strong, with its quotes. The file is read in blocks, in threads. Sending it raises
    ResultExpired where somebody has taken it away meanwhile.
    """

    def __init__(
        self,
        path: Path,
        media_type: str,
        etag: str,
        size: int,
        *,
        cache: str = IMMUTABLE,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.size, self.etag = path, size, etag
        self.media_type = media_type
        self.status_code = 200
        self.background = None
        fields = {"ETag": etag, "Cache-Control": cache, "Accept-Ranges": "bytes"}
        self.init_headers({**fields, **(headers or {}), "Content-Length": str(size)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):  # the answer to a POST has no conditions
            await self._send(False, None, send)
            return
        if etag_matches(request.get("if-none-match"), self.etag):
            await self._not_modified()(scope, receive, send)
            return
        try:
            part = self._part(request)
        except ValueError as error:
            await self._no_such_range(str(error))(scope, receive, send)
            return
        await self._send(scope["method"] == "HEAD", part, send)

    def _part(self, request: Headers) -> tuple[int, int] | None:
        field, condition = request.get("range"), request.get("if-range")
        if field is None or (condition is not None and condition.strip() != self.etag):
            return None
        return parse_range(field, self.size)

    def _not_modified(self) -> Response:
        kept = {name: self.headers[name] for name in ("etag", "cache-control")}
        return Response(status_code=304, headers=kept)

    def _no_such_range(self, why: str) -> Response:
        answer = ProblemAnswer.from_slug("range-not-satisfiable", f"{why}; ask for some of them")
        answer.headers["Content-Range"] = f"bytes */{self.size}"
        return answer

    async def _send(self, head: bool, part: tuple[int, int] | None, send: Send) -> None:
        start, stop = part or (0, self.size)
        if part is not None:
            self.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{self.size}"
            self.headers["Content-Length"] = str(stop - start)
        if head:
            await self._start(206 if part else 200, send)
            await send({"type": "http.response.body", "body": b""})
            return
        async with await self._opened() as file:
            await self._start(206 if part else 200, send)
            await file.seek(start)
            while start < stop:
                block = await file.read(min(BLOCK_BYTES, stop - start))
                if not block:
                    raise RuntimeError("a file of a finished result is shorter than its manifest")
                start += len(block)
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _opened(self) -> anyio.AsyncFile[bytes]:
        try:
            return await anyio.open_file(self.path, "rb")
        except FileNotFoundError as error:
            raise ResultExpired("the result was deleted just now") from error

    async def _start(self, status: int, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
