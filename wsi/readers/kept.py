"""A slide of which one level is in memory, for those who read it more than once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from wsi.cores import usable_cores
from wsi.geometry import Box
from wsi.readers.base import BaseSlide, read_shrunk
from wsi.resample import average_cells
from wsi.slide import Slide

__all__ = ["MOST_KEPT_PX", "KeptLevel", "keep_level"]

MOST_KEPT_PX = 3200  # longer side of a level that is kept: 31 MB at most


class KeptLevel(BaseSlide):
    """The slide, with all of `level` decoded once. Closing it closes the slide."""

    def __init__(self, slide: Slide, level: int) -> None:
        super().__init__(slide.info)
        self._slide, self._level = slide, level
        self._pixels = _read_whole(slide, level)

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        if level != self._level:
            return self._slide.read_level(level, box)
        return self._pixels[box.y : box.bottom, box.x : box.right].copy()

    def read_shrunk(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        """As the function of that name."""
        if level != self._level:
            read_shrunk(self._slide, level, box, out)
            return
        self._require_inside(level, box)
        with self._reading():
            average_cells(self._pixels[box.y : box.bottom, box.x : box.right], out)

    def _release(self) -> None:
        self._pixels = np.empty((0, 0, 3), np.uint8)
        self._slide.close()


def keep_level(slide: Slide, level: int) -> Slide:
    """A KeptLevel, which is to be closed in the slide's place; the slide itself where the level is
    larger than MOST_KEPT_PX. Raises CorruptSlide."""
    size = slide.info.levels[level].size
    return KeptLevel(slide, level) if max(size) <= MOST_KEPT_PX else slide


def _read_whole(slide: Slide, level: int) -> NDArray[np.uint8]:
    """In threads, by rows of native tiles: uint8 (height, width, 3)."""
    (width, height), tile = slide.info.levels[level].size, slide.info.levels[level].tile
    pixels = np.empty((height, width, 3), np.uint8)

    def read(top: int) -> None:
        box = Box(0, top, width, min(tile.height, height - top))
        pixels[top : box.bottom] = slide.read_level(level, box)

    with ThreadPoolExecutor(min(8, usable_cores()), "level") as pool:
        list(pool.map(read, range(0, height, tile.height)))
    return pixels
