"""Slides that stay in their place, where others may change them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from service.errors import Busy, SlideChanged
from service.storage.gatekeeper import SHUT_DOWN, admit_apart
from service.storage.library import StoredSlide
from service.storage.stamps import Stamp
from wsi.errors import WsiError
from wsi.identity import files_identity

__all__ = ["CHANGED", "PinnedSlides", "require_unchanged"]

CHANGED = "the slide's file is not the one that was added any more; add it again, as a new slide"

STANDS_S = 60.0
"""How long a slide that was found changed is not read again: a viewer asks for hundreds of tiles,
and a file that could not be read for once is not lost."""


def require_unchanged(
    path: Path, sha256: str, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Reads all its files: equal work is found by their sha256, and a result of other bytes would
    be given to everybody who asks for it. Raises SlideChanged, also where the file is gone; Busy
    once should_stop() is True."""
    try:
        files = map(Path, admit_apart(path, should_stop).files)
        found = files_identity(files, "the slide", should_stop)["sha256"]
    except InterruptedError as error:
        raise Busy(SHUT_DOWN) from error
    except WsiError as error:
        raise SlideChanged(CHANGED) from error
    if found != sha256:
        raise SlideChanged(CHANGED)


class _Look(NamedTuple):
    """What a slide's file was when it was read."""

    stamp: Stamp
    is_same: bool
    at: float


class PinnedSlides:
    """Slides in their place, looked at again and again: read only where the file looks touched,
    and then once, however many ask.

    Safe from several threads.
    """

    def __init__(
        self,
        check: Callable[[Path, str], None] = require_unchanged,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check, self._clock = check, clock
        self._looks: dict[str, _Look] = {}
        self._reading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def require(self, slide: StoredSlide) -> None:
        """Raises SlideChanged where the slide's file is another than the one that was added.

        A file that nobody touched since its row was made, and as large, is taken for the same; of
        several files the first is looked at.
        """
        if slide.kind != "path":
            return
        try:
            stamp = Stamp.of(slide.path)
        except OSError as error:
            raise SlideChanged(CHANGED) from error
        if not stamp.is_of(slide.size_bytes, slide.created_at) and not self._is_same(slide, stamp):
            raise SlideChanged(CHANGED)

    def _is_same(self, slide: StoredSlide, stamp: Stamp) -> bool:
        with self._reading[slide.id]:
            look = self._looks.get(slide.id)
            if look is None or look.stamp != stamp or self._is_old(look):
                look = self._looks[slide.id] = self._look(slide, stamp)
            return look.is_same

    def _is_old(self, look: _Look) -> bool:
        return not look.is_same and self._clock() >= look.at + STANDS_S

    def _look(self, slide: StoredSlide, stamp: Stamp) -> _Look:
        try:
            self._check(slide.path, slide.sha256)
        except SlideChanged:
            return _Look(stamp, False, self._clock())
        return _Look(stamp, True, self._clock())
