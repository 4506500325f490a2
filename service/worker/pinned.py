"""Slides that stay in their place, where others may change them."""

from pathlib import Path

from service.errors import SlideChanged
from service.storage.gatekeeper import admit_apart
from wsi.errors import WsiError
from wsi.identity import files_identity

__all__ = ["require_unchanged"]

CHANGED = "the slide's file is not the one that was added any more; add it again, as a new slide"


def require_unchanged(path: Path, sha256: str) -> None:
    """Reads all its files: equal work is found by their sha256, and a result of other bytes would
    be given to everybody who asks for it. Raises SlideChanged, also where the file is gone."""
    try:
        found = files_identity(map(Path, admit_apart(path).files), "the slide")["sha256"]
    except WsiError as error:
        raise SlideChanged(CHANGED) from error
    if found != sha256:
        raise SlideChanged(CHANGED)
