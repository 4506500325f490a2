"""Ranges of an object in a store that fsspec knows: s3://, gs:// and others."""

import errno
import threading
from typing import Any

from wsi.address import hide_secrets, public_path, query_sha256
from wsi.errors import SlideNotFound, SlideUnreachable, UnsupportedSlide, WsiError
from wsi.slide import RemoteIdentity

__all__ = ["ObjectRanges", "error_from_store"]

MODIFIED = ("LastModified", "last_modified", "mtime", "modify")
"""Under which of these a store says when the object was written."""


class ObjectRanges:
    """Each thread reads through a handle of its own, by fsspec's public calls only. s3fs tries
    again by itself, and sends with each request the ETag that the object must still have."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        try:
            from fsspec.core import url_to_fs

            self._filesystem, self._inner = url_to_fs(url)
            found = self._filesystem.info(self._inner)
        except Exception as error:  # fsspec's back ends raise each their own
            raise error_from_store(url, error) from error
        size_bytes, etag = found.get("size"), found.get("ETag") or found.get("etag")
        if not size_bytes:
            raise UnsupportedSlide(
                f"{public_path(url)}: its store does not say how large it is, or it is empty; "
                "copy the slide to a local disk"
            )
        etag = etag.strip('"') if isinstance(etag, str) else None
        modified = None if etag else next((found[name] for name in MODIFIED if name in found), None)
        when = None if modified is None else str(modified)
        self.identity = RemoteIdentity(int(size_bytes), etag, when, query_sha256(url))

    def fetch(self, offset: int, size_bytes: int) -> bytes:
        """As ByteRanges.fetch."""
        try:
            handle = self._take()
            handle.seek(offset)
            data: bytes = handle.read(size_bytes)
        except Exception as error:  # fsspec's back ends raise each their own
            raise self._broken(error) from error
        with self._lock:
            self._idle.append(handle)
        if len(data) != size_bytes:
            raise self._broken(OSError(f"{len(data)} bytes came, not {size_bytes}"))
        return data

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for handle in idle:
            handle.close()

    def _take(self) -> Any:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._filesystem.open(self._inner, "rb", cache_type="none")

    def _broken(self, error: Exception) -> WsiError:
        name = public_path(self._url)
        if type(error).__name__ == "FileExpired" or _is_refused_version(error):
            return SlideUnreachable(
                f"{name}: the object there is no longer the one that was opened; "
                "start again with the new one"
            )
        return SlideUnreachable(
            f"{name}: it cannot be read any further ({_reason(error, self._url)}); check "
            "the store and the network, or copy the object to a local disk"
        )


def error_from_store(url: str, error: Exception) -> WsiError:
    """Of a store that cannot be asked for the object at all."""
    name = public_path(url)
    if isinstance(error, ImportError):
        extra = "[s3]" if url.startswith("s3://") else ""
        return UnsupportedSlide(
            f"{name}: a library for this kind of address is missing ({_reason(error, url)}); "
            f"pip install 'wsi-heatmap{extra}'"
        )
    if isinstance(error, FileNotFoundError):
        return SlideNotFound(
            f"{name}: there is no such object, or no such store; check the address"
        )
    return SlideNotFound(
        f"{name}: cannot be read from there ({_reason(error, url)}); check address and credentials"
    )


def _reason(error: Exception, url: str) -> str:
    return hide_secrets(str(error) or type(error).__name__, url)


def _is_refused_version(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EINVAL and "condition" in str(error)
