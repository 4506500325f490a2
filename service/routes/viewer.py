"""`/viewer`: the page and its assets."""

import mimetypes
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse, HTMLResponse

from service.viewer import CONTENT_SECURITY_POLICY, bundle_folder
from service.web.routing import Router

__all__ = ["router"]

router = Router(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}  # names hold their hash
ALWAYS_ASK = {"Cache-Control": "no-cache"}

NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Viewer not built</title>
<h1>The viewer was not built</h1>
<p>Node 18 or later and npm were missing when this service was installed. The API works without
the viewer. To build it, install both, run <code>make viewer</code> in the checkout and load this
page again; an installed wheel has to be made anew.</p>
</html>
"""


@router.get("/viewer")
def show_viewer() -> Response:
    """The page; 503 with the way to build it where it was not built."""
    folder = bundle_folder()
    if folder is None:
        return HTMLResponse(NOT_BUILT, status_code=503, headers=HEADERS | ALWAYS_ASK)
    return FileResponse(folder / "index.html", headers=HEADERS | ALWAYS_ASK)


@router.get("/viewer/assets/{name}")
def send_asset(name: str) -> Response:
    """A script, style or picture of the page."""
    path = asset_path(name)
    if path is None:
        return Response(status_code=404, headers=HEADERS | ALWAYS_ASK)
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=media_type, headers=HEADERS | FOREVER)


def asset_path(name: str) -> Path | None:
    """None unless the bundle has a file of exactly that name: a request makes no path."""
    folder = bundle_folder()
    assets = (folder / "assets").iterdir() if folder else ()
    return next((path for path in assets if path.name == name), None)
