"""What all readers share: boxes at the edge, use after close, closing while others read."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.geometry import Box, Size
from wsi.resample import average_cells
from wsi.slide import RGB, Slide, SlideInfo

__all__ = ["DEFAULT_TILE", "BaseSlide", "ShrinkingSlide", "pad_pixels", "read_shrunk"]

DEFAULT_TILE = Size(256, 256)
"""Block size where a format has no tiles of its own."""


@runtime_checkable
class ShrinkingSlide(Protocol):
    """A slide that can shrink each native tile while it is in the processor's cache."""

    def read_shrunk(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        """As the function read_shrunk()."""
        ...


def read_shrunk(slide: Slide, level: int, box: Box, out: NDArray[np.uint8]) -> None:
    """Pixels of a box inside `level`, each cell of whole pixels averaged, into `out`.

    out: uint8 (rows, columns, 3), any view; the sides of the box are multiples of its sides. Raises
    as Slide.read_level.
    """
    if isinstance(slide, ShrinkingSlide):
        slide.read_shrunk(level, box, out)
    else:
        average_cells(slide.read_level(level, box), out)


class BaseSlide(ABC):
    """A slide whose reader only has to decode boxes that lie inside a level.

    Reads run at the same time; close() waits for those that have begun, because a C library that is
    closed under a reader ends the process.
    """

    def __init__(self, info: SlideInfo) -> None:
        self._info = info
        self._state = threading.Condition()
        self._reads = 0
        self._closed = False

    @property
    def info(self) -> SlideInfo:
        return self._info

    def explain(self, why: str) -> None:
        """Says in `info` why this reader was chosen. By who opened it, before anybody reads."""
        self._info = replace(self._info, why=why)

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        """As Slide.read_level. InvalidOption where there is no such level, or after close()."""
        inside = self._box_inside(level, box)
        with self._reading():
            if inside == box and not box.is_empty:
                return self._read_inside(level, box)
            pixels = np.empty((0, 0, 3), np.uint8)
            if not inside.is_empty:
                pixels = self._read_inside(level, inside)
        return pad_pixels(pixels, inside, box, self._info.background)

    def close(self) -> None:
        """Free the file; may be called twice. Reads that have begun end first."""
        with self._state:
            first, self._closed = not self._closed, True
            self._state.wait_for(lambda: self._reads == 0)
        if first:
            self._release()

    @abstractmethod
    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        """RGB of a box of at least one pixel that lies inside the level, in an array of its own."""

    @abstractmethod
    def _release(self) -> None:
        """Close what is open. Called once."""

    def _box_inside(self, level: int, box: Box) -> Box:
        levels = self._info.levels
        if not 0 <= level < len(levels):
            raise InvalidOption(
                f"{self._info.path}: level {level} does not exist; use 0 to {len(levels) - 1}"
            )
        if box.width < 0 or box.height < 0:
            raise InvalidOption(f"{self._info.path}: a box of {box.width} x {box.height} px")
        return box.intersection(Box(0, 0, *levels[level].size))

    def _require_inside(self, level: int, box: Box) -> None:
        if box.is_empty or self._box_inside(level, box) != box:
            raise InvalidOption(f"{self._info.path}: {tuple(box)} is not inside level {level}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._state:
            if self._closed:
                raise InvalidOption(f"{self._info.path}: the slide was closed; open it again")
            self._reads += 1
        try:
            yield
        finally:
            with self._state:
                self._reads -= 1
                self._state.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def pad_pixels(
    pixels: NDArray[np.uint8], inside: Box, box: Box, background: RGB
) -> NDArray[np.uint8]:
    """`pixels` of the box `inside`, on a sheet of background of the size of `box`."""
    out = np.empty((box.height, box.width, 3), np.uint8)
    out[:] = background
    if not inside.is_empty:
        top, left = inside.y - box.y, inside.x - box.x
        out[top : top + inside.height, left : left + inside.width] = pixels
    return out
