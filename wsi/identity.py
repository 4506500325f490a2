"""Which slide it is: a fingerprint of its bytes, for results to name what they are made from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from wsi.errors import SlideNotFound
from wsi.slide import SlideInfo

__all__ = ["files_identity", "public_path", "public_url", "slide_identity"]

CHUNK_BYTES = 1 << 20


def slide_identity(info: SlideInfo) -> dict[str, Any]:
    """JSON types. A local slide: `sha256`, `size_bytes`, `file_count`; a URL: `url`, `size_bytes`,
    `etag` (None where the server has none).

    Query, user and password of a URL are left out: they are credentials. Reads all files; raises
    SlideNotFound.
    """
    if not info.files:
        return _remote_identity(info.path)
    return files_identity(info.files, info.path)


def files_identity(files: Iterable[Path], name: str) -> dict[str, Any]:
    """slide_identity() of local files, at least one; errors call them `name`.

    `sha256` is that of the file; of several files it is the sha256 of their sorted hex digests,
    joined by newlines, so that names, which may be a patient's, are no part of it.
    """
    paths = tuple(files)
    try:
        digests = sorted(_file_digest(path) for path in paths)
        size_bytes = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise SlideNotFound(f"{name}: it cannot be read any more ({error})") from error
    whole = digests[0]
    if len(digests) > 1:
        whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {"sha256": whole, "size_bytes": size_bytes, "file_count": len(digests)}


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _remote_identity(url: str) -> dict[str, Any]:
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(url)
        found = filesystem.info(path)
    except Exception as error:  # fsspec's back ends raise each their own
        raise SlideNotFound(f"{public_url(url)}: it cannot be asked for ({error})") from error
    etag = found.get("ETag") or found.get("etag")
    return {
        "url": public_url(url),
        "size_bytes": found.get("size"),
        "etag": etag.strip('"') if isinstance(etag, str) else None,
    }


def public_path(path: str) -> str:
    """A slide's address without secrets; the path of a local one as it is."""
    return public_url(path) if "://" in path else path


def public_url(url: str) -> str:
    """Without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
