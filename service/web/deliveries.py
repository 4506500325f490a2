"""Files of results as answers."""

import gzip
from pathlib import Path
from typing import IO, Literal

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.outputs import OUTPUTS
from service.storage.artefacts import ARTEFACTS, ZARR, Kept, kept_file, read_manifest
from service.storage.shelf import StoredResult
from service.web.answers import IMMUTABLE, FileAnswer, etag_matches, head_only
from service.web.spools import SpooledAnswer, unzipped

__all__ = ["MEDIA_TYPES", "GeoJson", "deliver_file", "deliver_zarr"]

GEOJSON = "application/geo+json"
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
        self, result: StoredResult, kind: Literal["tiles", "regions"], threshold: float | None
    ) -> None:
        self._folder, self._tenant, self._kind = result.folder, result.tenant, kind
        own = read_manifest(result.folder)["summary"]["threshold"]
        self._threshold = None if threshold in (None, own) else threshold

    def _stored(self) -> Kept:
        return kept_file(
            self._folder, OUTPUTS["geojson" if self._kind == "tiles" else "regions"].file
        )

    async def compressed(self, request: Request) -> Response:
        """The .gz as a file; at another threshold than the model's own it is made anew."""
        if self._threshold is not None:
            return self._made("application/gzip", "gz", request, {})
        kept = self._stored()
        return FileAnswer(kept.path, "application/gzip", kept.etag, kept.size_bytes)

    async def plain(self, request: Request, **headers: str) -> Response:
        """Compressed where the client takes that: the file is so already."""
        fields = {field.replace("_", "-"): value for field, value in headers.items()}
        fields["Vary"] = "Accept-Encoding"
        packed = _takes_gzip(request.headers.get("accept-encoding", ""))
        if packed:
            fields["Content-Encoding"] = "gzip"
        if self._threshold is not None:
            return self._made(GEOJSON, "gzip" if packed else "json", request, fields)
        kept = self._stored()
        if packed:
            etag = f'"{kept.sha256}-gzip"'
            return FileAnswer(kept.path, GEOJSON, etag, kept.size_bytes, headers=fields)
        etag = f'"{kept.sha256}-plain"'
        return _known_or_head(request, GEOJSON, etag, fields) or StreamingResponse(
            unzipped(kept.path), media_type=GEOJSON, headers=_described(etag, fields)
        )

    def _made(
        self, media_type: str, form: str, request: Request, fields: dict[str, str]
    ) -> Response:
        etag = self._etag(form)
        return _known_or_head(request, media_type, etag, fields) or SpooledAnswer(
            self._write_anew,
            self._folder.parent,
            self._tenant,
            media_type,
            _described(etag, fields),
            unpack=form == "json",
        )

    def _etag(self, form: str) -> str:
        from wsi import __version__

        work = read_manifest(self._folder)["work_sha256"]
        return f'"{work}-{self._kind}-{self._threshold!r}-{__version__}-{form}"'

    def _write_anew(self, file: IO[bytes]) -> None:
        """gzip, from the result's scores and heatmap; nothing is scored again."""
        from service.exports import load_source
        from wsi.export.geojson import stream

        source = load_source(self._folder)
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
            packed.writelines(stream(source, kind=self._kind, threshold=self._threshold))


def _known_or_head(
    request: Request, media_type: str, etag: str, fields: dict[str, str]
) -> Response | None:
    """An answer for which nothing has to be made: the client has it, or wants no body."""
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": IMMUTABLE})
    if request.method == "HEAD":
        return head_only(_described(etag, fields), media_type)
    return None


def _described(etag: str, fields: dict[str, str]) -> dict[str, str]:
    return {"Cache-Control": IMMUTABLE, **fields, "ETag": etag}


def _takes_gzip(field: str) -> bool:
    """Accept-Encoding names gzip, and not with a q of 0."""
    for coding in field.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
