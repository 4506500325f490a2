"""A pyramid in memory: pictures that a program made, and the fake slide of the tests."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.geometry import Box, Mpp, Size, downsample_from_sizes
from wsi.slide import RGB, WHITE, Level, SlideInfo

__all__ = ["ArraySlide", "read_padded"]

DEFAULT_TILE = Size(256, 256)


class ArraySlide:
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
        self._levels = tuple(levels)
        sizes = [Size(pixels.shape[1], pixels.shape[0]) for pixels in levels]
        self._info = SlideInfo(
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

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        return read_padded(self._levels[level], box, self._info.background)

    def close(self) -> None:
        self._levels = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_padded(pixels: NDArray[np.uint8], box: Box, background: RGB) -> NDArray[np.uint8]:
    """A copy of the box out of (height, width, 3), background where it reaches outside."""
    inside = box.intersection(Box(0, 0, pixels.shape[1], pixels.shape[0]))
    cut = pixels[inside.y : inside.bottom, inside.x : inside.right]
    if inside == box:
        return cut.copy()
    out = np.empty((box.height, box.width, 3), np.uint8)
    out[:] = background
    top, left = inside.y - box.y, inside.x - box.x
    out[top : top + inside.height, left : left + inside.width] = cut
    return out
