"""Slides that stay in their place, where others may change them."""

from pathlib import Path

from service.errors import SlideChanged
from service.storage.gatekeeper import admit_apart
from service.storage.library import StoredSlide
from wsi.errors import WsiError
from wsi.identity import files_identity

__all__ = ["PinnedSlides", "require_unchanged"]

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


class PinnedSlides:
    """Slides in their place, looked at again and again: hashed only where the file looks touched.

    Safe from several threads.
    """

    def __init__(self) -> None:
        self._same: set[tuple[str, int, int]] = set()  # slide, time of change in ns, size

    def require(self, slide: StoredSlide) -> None:
        """Raises SlideChanged where the slide's file is another than the one that was added.

        A file that is no younger than its row, and as large, is taken for the same; of several
        files the first is looked at.
        """
        if slide.kind != "path":
            return
        try:
            status = slide.path.stat()
        except OSError as error:
            raise SlideChanged(CHANGED) from error
        if status.st_mtime <= slide.created_at and status.st_size == slide.size_bytes:
            return
        now = slide.id, status.st_mtime_ns, status.st_size
        if now not in self._same:
            require_unchanged(slide.path, slide.sha256)
            self._same.add(now)
