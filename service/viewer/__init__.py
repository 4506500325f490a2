"""The page at `/viewer`: where its bundle lies, and what a browser may do with it."""

from pathlib import Path

__all__ = ["CONTENT_SECURITY_POLICY", "bundle_folder"]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""Nothing from another site, nothing inline. Thumbnails are blobs: an <img> can send no key."""


def bundle_folder(package: Path = Path(__file__).parent) -> Path | None:
    """The built page (`index.html`, `assets/`); None where it was not built."""
    folder = package / "dist"
    return folder if (folder / "index.html").is_file() else None
