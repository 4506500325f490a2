"""Which slide it is: a fingerprint of its bytes, for results to name what they are made from."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wsi.address import public_url
from wsi.errors import SlideNotFound
from wsi.slide import SlideInfo

__all__ = ["files_identity", "slide_identity"]

CHUNK_BYTES = 1 << 20


def slide_identity(
    info: SlideInfo, should_stop: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """JSON types. A local slide: `sha256`, `size_bytes`, `file_count`; a URL: `url`, `size_bytes`,
    `etag` (None where the server has none, then `modified` where it says that), and `query_sha256`
    where the query says more than who may read.

    Query, user and password of a URL are left out: they are credentials; the others are those that
    it was opened with. Reads all local files; raises SlideNotFound. should_stop is asked after each
    megabyte; once it is True InterruptedError comes.
    """
    if info.remote is not None:
        size_bytes, etag, *others = info.remote
        said = zip(("modified", "query_sha256"), others, strict=True)
        more = {name: value for name, value in said if value is not None}
        return {"url": public_url(info.path), "size_bytes": size_bytes, "etag": etag} | more
    if not info.files:
        raise SlideNotFound(f"{info.path}: no file and no URL; only those have a fingerprint")
    return files_identity(info.files, info.path, should_stop)


def files_identity(
    files: Iterable[Path], name: str, should_stop: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """slide_identity() of local files, at least one; errors call them `name`.

    `sha256` is that of the file; of several files it is the sha256 of their sorted hex digests,
    joined by newlines, so that names, which may be a patient's, are no part of it.
    """
    paths = tuple(files)
    try:
        digests = sorted(_file_digest(path, should_stop) for path in paths)
        size_bytes = sum(path.stat().st_size for path in paths)
    except InterruptedError:
        raise
    except OSError as error:
        raise SlideNotFound(f"{name}: it cannot be read any more ({error})") from error
    whole = digests[0]
    if len(digests) > 1:
        whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {"sha256": whole, "size_bytes": size_bytes, "file_count": len(digests)}


def _file_digest(path: Path, should_stop: Callable[[], bool] | None) -> str:
    digest, chunk = hashlib.sha256(), bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(chunk):
            if should_stop is not None and should_stop():
                raise InterruptedError(f"{path}: stopped while it was read")
            digest.update(memoryview(chunk)[:count])
    return digest.hexdigest()
