"""A pyramid in memory: pictures that a program made, and the fake slide of the tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.geometry import Box, Mpp, Size, downsample_from_sizes
from wsi.readers.base import DEFAULT_TILE, BaseSlide
from wsi.slide import RGB, WHITE, Level, SlideInfo

__all__ = ["ArraySlide"]


class ArraySlide(BaseSlide):
    """A slide over uint8 arrays (height, width, 3), largest first."""

    def __init__(
        self,
        levels: Sequence[NDArray[np.uint8]],
        mpp: Mpp | None = None,
        *,
        path: str = "array",
        bounds: Box | None = None,
        background: RGB = WHITE,
        tile: Size = DEFAULT_TILE,
    ) -> None:
        for pixels in levels:
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise InvalidOption(
                    f"{path}: a level is {pixels.dtype} {pixels.shape}; "
                    "use uint8 (height, width, 3)"
                )
        if not levels or min(min(pixels.shape) for pixels in levels) == 0:
            raise InvalidOption(f"{path}: no level, or one without pixels; give at least one")
        self._levels = tuple(levels)
        sizes = [Size(pixels.shape[1], pixels.shape[0]) for pixels in levels]
        super().__init__(
            SlideInfo(
                path=path,
                reader="array",
                vendor="array",
                size=sizes[0],
                levels=tuple(Level(s, downsample_from_sizes(sizes[0], s), tile) for s in sizes),
                mpp=mpp,
                mpp_source="caller" if mpp else None,
                bounds=bounds,
                background=background,
            )
        )

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        return self._levels[level][box.y : box.bottom, box.x : box.right].copy()

    def _release(self) -> None:
        self._levels = ()
