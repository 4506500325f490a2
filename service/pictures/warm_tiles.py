"""Heatmap tiles that are in memory, answered before the application is asked.

A viewer asks for hundreds of tiles at once, and finding the route, its dependencies and their
checks take the application several times as long as sending a tile. Only what is known to be right
is answered here: a tile that was made, of a result that whoever asks was shown a moment ago. All
else, errors included, is the application's.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import get_args

from starlette.types import ASGIApp, Receive, Scope, Send

from service.pictures.tiles import COLORMAP, Colouring
from service.pictures.viewing import SeenResult, Viewing
from service.web.answers import IMMUTABLE, etag_matches
from wsi.deepzoom import Address
from wsi.errors import InvalidOption
from wsi.render import Style

__all__ = ["WarmTiles", "read_colouring"]

TILE = re.compile(
    r"/v1/results/(\w{1,40})/"
    r"(?:heatmap_files/(\d{1,9})/(\d{1,9})_(\d{1,9})|tiles/(\d{1,9})/(\d{1,9})/(\d{1,9}))\.png",
    re.ASCII,
)
PLAIN_PAIR = re.compile(rb"([a-z]{1,9})=([A-Za-z0-9._-]{1,400})")
UNIT = re.compile(r"(?:0|1|0?\.\d{1,9}|1\.0{1,9})", re.ASCII)
UNITS = ("vmin", "vmax", "threshold", "alpha", "fade")

DEEP_ZOOM = SimpleNamespace(
    path="/v1/results/{result_id}/heatmap_files/{level:number}/{column:number}_{row:number}.png"
)
XYZ = SimpleNamespace(path="/v1/results/{result_id}/tiles/{z:number}/{x:number}/{y:number}.png")
"""As metrics name the routes."""

Warm = tuple[str, bytes]
"""ETag and PNG."""


class WarmTiles:
    """ASGI around the application. `viewing`: None until it has started."""

    def __init__(self, app: ASGIApp, viewing: Callable[[], Viewing | None]) -> None:
        self._app, self._viewing = app, viewing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        warm, known = None, None
        if scope["type"] == "http" and scope["method"] == "GET":
            fields = _fields(scope)
            warm, known = self._find(scope, fields), fields.get(b"if-none-match")
        if warm is None:
            await self._app(scope, receive, send)
            return
        etag, png = warm
        headers = [(b"etag", etag.encode()), (b"cache-control", IMMUTABLE.encode())]
        if etag_matches(known.decode("latin-1") if known else None, etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            png = b""
        else:
            headers.append((b"content-length", b"%d" % len(png)))
            headers.append((b"content-type", b"image/png"))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": png})

    def _find(self, scope: Scope, fields: dict[bytes, bytes]) -> Warm | None:
        match, viewing = TILE.fullmatch(scope["path"]), self._viewing()
        asked = read_colouring(scope["query_string"])
        if match is None or viewing is None or asked is None:
            return None
        coloured, token = asked
        authorization = fields.get(b"authorization")
        shown = authorization.decode("latin-1") if authorization is not None else None, token
        seen = viewing.results.get((match[1], *shown))
        address = None if seen is None else _address(seen, match)
        if seen is None or address is None:
            return None
        png = viewing.heatmaps.cached(seen.heatmap, address, coloured.style, coloured.name)
        if png is None:
            return None
        scope["route"] = DEEP_ZOOM if match[2] else XYZ
        return seen.etag(address, coloured), png


@lru_cache(maxsize=4096)
def read_colouring(query: bytes) -> tuple[Colouring, str | None] | None:
    """What a query asks for, and its token; None of a query that is not plain: the application
    says what is wrong with it."""
    pairs = [PLAIN_PAIR.fullmatch(pair) for pair in query.split(b"&")] if query else []
    given = {pair[1].decode(): pair[2].decode() for pair in pairs if pair is not None}
    if len(given) != len(pairs):  # something else, or a name twice
        return None
    token, name, cmap = (given.pop(each, None) for each in ("tk", "class", "cmap"))
    is_plain = all(key in UNITS and UNIT.fullmatch(value) for key, value in given.items())
    if not is_plain or (cmap or "viridis") not in get_args(COLORMAP) or name:
        return None
    try:
        style = Style(cmap or "viridis", **{key: float(value) for key, value in given.items()})
    except InvalidOption:
        return None
    return Colouring(style, None), token


def _fields(scope: Scope) -> dict[bytes, bytes]:
    """The first of each name, as the application reads them."""
    return dict(reversed(scope["headers"]))


def _address(seen: SeenResult, match: "re.Match[str]") -> Address | None:
    numbers = [int(number) for number in match.groups()[1:] if number is not None]
    tile = seen.pyramid.tile if match[2] else seen.pyramid.xyz
    try:
        return tile(*numbers)
    except InvalidOption:
        return None
