"""Files of results as answers."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.outputs import OUTPUTS
from service.storage.artefacts import ARTEFACTS, ZARR, Kept, kept_file, read_manifest
from service.web.answers import IMMUTABLE, FileAnswer, etag_matches, head_only, in_blocks

__all__ = ["MEDIA_TYPES", "GeoJson", "deliver_file", "deliver_zarr"]

GEOJSON = "application/geo+json"
BLOCK_BYTES = 256 << 10
GZIP_LEVEL = 4  # as wsi.export.geojson

MEDIA_TYPES = {file.name: file.media_type for file in ARTEFACTS}
FILES = {artefact.name: artefact.file for artefact in ARTEFACTS}

OPENED_APART = {
    "Content-Disposition": "attachment",
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ),
}
"""A page goes to the disk of whoever asked, never into this site."""

_sources = anyio.CapacityLimiter(2)
"""Results that are loaded at once to be written anew: each takes its scores' memory."""


def deliver_file(folder: Path, name: str, **headers: str) -> FileAnswer:
    """One of ARTEFACTS by its address; `headers`: with _ for -. Raises NotFound."""
    kept = kept_file(folder, FILES[name])
    fields = {field.replace("_", "-"): value for field, value in headers.items()}
    if name == "report.html":
        fields |= OPENED_APART
    return FileAnswer(kept.path, MEDIA_TYPES[name], kept.etag, kept.size_bytes, headers=fields)


def deliver_zarr(folder: Path, key: str) -> FileAnswer:
    """A file of the OME-Zarr. Raises NotFound, which stores take for a chunk of fill values."""
    kept = kept_file(folder, f"{ZARR}/{key}")
    media_type = "application/json" if key.endswith(".json") else "application/octet-stream"
    return FileAnswer(kept.path, media_type, kept.etag, kept.size_bytes)


class GeoJson:
    """The GeoJSON of a result: tiles or regions, at the threshold of the model or another one."""

    def __init__(
        self, folder: Path, kind: Literal["tiles", "regions"], threshold: float | None
    ) -> None:
        self._folder, self._kind = folder, kind
        own = read_manifest(folder)["summary"]["threshold"]
        self._threshold = None if threshold in (None, own) else threshold

    def _stored(self) -> Kept:
        return kept_file(
            self._folder, OUTPUTS["geojson" if self._kind == "tiles" else "regions"].file
        )

    async def compressed(self, request: Request) -> Response:
        """The .gz as a file; at another threshold than the model's own it is made on the way."""
        if self._threshold is not None:
            return await self._made("application/gzip", self._etag("gz"), request, {})
        kept = self._stored()
        return FileAnswer(kept.path, "application/gzip", kept.etag, kept.size_bytes)

    async def plain(self, request: Request, **headers: str) -> Response:
        """Compressed on the way where the client takes that: the file is so already."""
        fields = {field.replace("_", "-"): value for field, value in headers.items()}
        fields["Vary"] = "Accept-Encoding"
        if self._threshold is not None:
            return await self._made(GEOJSON, self._etag("json"), request, fields)
        kept = self._stored()
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            fields["Content-Encoding"] = "gzip"
            etag = f'"{kept.sha256}-gzip"'
            return FileAnswer(kept.path, GEOJSON, etag, kept.size_bytes, headers=fields)
        etag = f'"{kept.sha256}-plain"'
        return _known_or_head(request, GEOJSON, etag, fields) or _streamed(
            _unzipped(kept.path), GEOJSON, etag, fields
        )

    async def _made(
        self, media_type: str, etag: str, request: Request, fields: dict[str, str]
    ) -> Response:
        short = _known_or_head(request, media_type, etag, fields)
        if short is not None:
            return short
        pieces = await self._anew()
        packed = _gzipped(pieces) if media_type == "application/gzip" else in_blocks(pieces)
        return _streamed(packed, media_type, etag, fields)

    def _etag(self, form: str) -> str:
        from wsi import __version__

        work = read_manifest(self._folder)["work_sha256"]
        return f'"{work}-{self._kind}-{self._threshold!r}-{__version__}-{form}"'

    async def _anew(self) -> Iterator[bytes]:
        """From the result's scores and heatmap; nothing is scored again."""
        from service.exports import load_source
        from wsi.export.geojson import stream

        source = await anyio.to_thread.run_sync(load_source, self._folder, limiter=_sources)
        return stream(source, kind=self._kind, threshold=self._threshold)


def _known_or_head(
    request: Request, media_type: str, etag: str, fields: dict[str, str]
) -> Response | None:
    """An answer for which nothing has to be made: the client has it, or wants no body."""
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": IMMUTABLE})
    if request.method == "HEAD":
        return head_only(_described(etag, fields), media_type)
    return None


def _streamed(
    pieces: Iterator[bytes], media_type: str, etag: str, fields: dict[str, str]
) -> Response:
    return StreamingResponse(pieces, media_type=media_type, headers=_described(etag, fields))


def _described(etag: str, fields: dict[str, str]) -> dict[str, str]:
    return {"Cache-Control": IMMUTABLE, **fields, "ETag": etag}


def _unzipped(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
    for piece in in_blocks(pieces):
        yield packer.compress(piece)
    yield packer.flush()


def _takes_gzip(field: str) -> bool:
    """Accept-Encoding names gzip, and not with a q of 0."""
    for coding in field.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
