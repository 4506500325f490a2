"""Ranges of a file on a web server (RFC 9110, 14): tried again where a connection breaks."""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

import httpx

from wsi.address import malformed, public_url, query_sha256
from wsi.errors import CorruptSlide, SlideNotFound, SlideUnreachable, UnsupportedSlide
from wsi.slide import RemoteIdentity

__all__ = ["HttpRanges"]

PAUSES_S = (0.1, 0.5, 2.0)  # before the second, third and fourth try
TIMEOUT = httpx.Timeout(20, connect=10)  # s; the first is of each part that comes
HEAD_BYTES = 16 << 10  # asked for to learn what is there, and kept
PASSING = (408, 425, 429, 500, 502, 503, 504)
FORBIDDEN = (401, 403)
MISSING = (404, 410)
PART, WHOLE, BEYOND_THE_END = 206, 200, 416


class _Passing(Exception):
    """An answer that may be better the next time."""


class _Version(NamedTuple):
    """What all answers have in common as long as the file stays the same."""

    size_bytes: int
    etag: str | None
    modified: str | None  # where there is no ETag


class HttpRanges:
    """A user and password in the URL go to its own host: where that redirects to another one, httpx
    leaves them out. Redirects are followed once, and again when what they led to has run out."""

    def __init__(self, url: str, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._name, self._query_sha256 = public_url(url), query_sha256(url)
        self._pauses_s = pauses_s
        self._version: _Version | None = None
        self._head = b""
        try:
            self._url = self._at = httpx.URL(url)
        except httpx.InvalidURL as error:  # its own sentence quotes what may be a password
            raise malformed(url) from error
        # as it is stored: ranges of a compressed answer would be others
        headers = {"Accept-Encoding": "identity"}
        self._client = httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers=headers)
        try:
            self._head = self._try_again(0, HEAD_BYTES)
        except BaseException:
            self._client.close()
            raise

    @property
    def identity(self) -> RemoteIdentity:
        if self._version is None:
            raise SlideUnreachable(f"{self._name}: its server has not answered yet")
        return RemoteIdentity(*self._version, self._query_sha256)

    def fetch(self, offset: int, size_bytes: int) -> bytes:
        """As ByteRanges.fetch."""
        if offset + size_bytes <= len(self._head):
            return self._head[offset : offset + size_bytes]
        return self._try_again(offset, size_bytes)

    def close(self) -> None:
        self._client.close()

    def _try_again(self, offset: int, size_bytes: int) -> bytes:
        for pause_s in (*self._pauses_s, None):
            at = self._at  # other threads may set it while this one waits for its answer
            try:
                return self._ask(at, offset, size_bytes)
            except (_Passing, httpx.TransportError) as error:
                self._at = self._url
                if isinstance(error, httpx.ConnectError) and self._version is None:
                    raise SlideNotFound(
                        f"{self._name}: there is no such server, or it does not let us in "
                        f"({_reason(error)}); check the address"
                    ) from error
                if pause_s is None:
                    tries = f", after {len(self._pauses_s) + 1} tries"
                    raise self._unreachable(_reason(error) + tries) from error
                time.sleep(pause_s)
            except httpx.HTTPError as error:
                raise self._unreachable(_reason(error)) from error
        raise self._unreachable("it was never asked")

    def _ask(self, at: httpx.URL, offset: int, size_bytes: int) -> bytes:
        headers = {"Range": f"bytes={offset}-{offset + size_bytes - 1}"}
        with self._client.stream("GET", at, headers=headers) as response:
            self._check_status(response, is_shortcut=at != self._url)
            self._check_version(response, offset)
            left = self.identity.size_bytes - offset
            data = _read_whole(response, min(size_bytes, left))
        self._at = response.url
        return data

    def _check_status(self, response: httpx.Response, *, is_shortcut: bool) -> None:
        """is_shortcut: asked where a redirect had led to, which may have run out."""
        status = response.status_code
        if status == PART:
            return
        if status == WHOLE:
            raise UnsupportedSlide(
                f"{self._name}: the server does not serve parts of a file (Range requests); "
                "copy the slide to a local disk"
            )
        if status in PASSING or (status >= 400 and is_shortcut):
            raise _Passing(f"the server answers {status}")
        if status in MISSING:
            raise SlideNotFound(f"{self._name}: there is no such object; check the address")
        if status in FORBIDDEN:
            raise SlideNotFound(
                f"{self._name}: the server does not give it to us ({status}); check user and "
                "password, or the signature, in the address"
            )
        if status == BEYOND_THE_END and self._version is None:
            raise CorruptSlide(f"{self._name}: the file is empty; copy it again to its server")
        raise self._unreachable(f"the server answers {status}")

    def _check_version(self, response: httpx.Response, offset: int) -> None:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if told is None or int(told[1]) != offset:
            raise _Passing("the server sends another part than the one asked for")
        etag, modified = (response.headers.get(name) for name in ("ETag", "Last-Modified"))
        if etag and etag.startswith('"'):  # a weak one begins with W
            etag = etag.strip('"')
        found = _Version(int(told[2]), etag, None if etag else modified)
        if self._version is None:
            self._version = found
        elif found != self._version:
            raise SlideUnreachable(
                f"{self._name}: the file there is no longer the one that was opened (it had "
                f"{_text(self._version)}, now {_text(found)}); start again with the new one"
            )

    def _unreachable(self, why: str) -> SlideUnreachable:
        return SlideUnreachable(
            f"{self._name}: it cannot be read any further ({why}); check "
            "the server and the network, or copy the file to a local disk"
        )


def _read_whole(response: httpx.Response, size_bytes: int) -> bytes:
    parts, came = [], 0
    for part in response.iter_raw():
        parts.append(part)
        came += len(part)
        if came > size_bytes:
            break
    if came != size_bytes:
        raise _Passing(f"{came} bytes came, not {size_bytes}")
    return b"".join(parts)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _text(version: _Version) -> str:
    mark = version.etag or version.modified
    return f"{version.size_bytes} bytes" + (f", {mark}" if mark else "")
