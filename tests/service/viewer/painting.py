"""A slide in memory with a heatmap on it, and the Deep Zoom tiles of both."""

import io
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi.render import Style, render

__all__ = ["TILE_PX", "Painting", "paint_squares"]

TILE_PX = 256

Rectangle = tuple[int, int, int, int]  # x0, y0, width, height in level-0 px


@dataclass(frozen=True)
class Painting:
    """Cell (row, column) of the heatmap covers [column, column + 1) * cell0_px, likewise y."""

    rgb: NDArray[np.uint8]  # (height, width, 3), level 0
    probability: NDArray[np.float32]  # (height, width) in cells; NaN: not scored
    cell0_px: float
    mpp: float | None = 0.5

    @property
    def size0(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[0]

    @property
    def top_level(self) -> int:
        return math.ceil(math.log2(max(self.size0)))

    @cached_property
    def levels(self) -> list[NDArray[np.uint8]]:
        """From level 0 of the slide down to one pixel, each the 2 x 2 means of the one before."""
        levels = [self.rgb]
        while max(levels[-1].shape[:2]) > 1:
            levels.append(halve(levels[-1]))
        return levels

    def dzi(self, form: str) -> str:
        width, height = self.size0
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
            f'Format="{form}" Overlap="0" TileSize="{TILE_PX}">'
            f'<Size Width="{width}" Height="{height}"/></Image>'
        )

    def slide_tile(self, level: int, column: int, row: int) -> bytes:
        """PNG, so that a painted edge stays sharp."""
        pixels = self.levels[self.top_level - level]
        y, x = row * TILE_PX, column * TILE_PX
        return png(pixels[y : y + TILE_PX, x : x + TILE_PX])

    def heatmap_tile(self, level: int, column: int, row: int, style: Style) -> bytes:
        height, width = self.levels[self.top_level - level].shape[:2]
        scale0 = 2 ** (self.top_level - level)
        xs = np.arange(column * TILE_PX, min(width, (column + 1) * TILE_PX))
        ys = np.arange(row * TILE_PX, min(height, (row + 1) * TILE_PX))
        values = self.values_at((xs + 0.5) * scale0, (ys + 0.5) * scale0)
        return png(render(values, style))

    def values_at(
        self, xs0: NDArray[np.floating], ys0: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        rows = np.minimum(ys0 / self.cell0_px, self.probability.shape[0] - 1).astype(int)
        columns = np.minimum(xs0 / self.cell0_px, self.probability.shape[1] - 1).astype(int)
        return self.probability[np.ix_(rows, columns)]

    def tissue_mm2(self) -> list[float]:
        """Of each 1/200 of probability."""
        cell_mm2 = (self.cell0_px * (self.mpp or 0) / 1000) ** 2
        scored = self.probability[~np.isnan(self.probability)]
        counts, _ = np.histogram(scored, bins=200, range=(0, 1))
        return [float(count * cell_mm2) for count in counts]


def paint_squares(
    rectangles: list[Rectangle], *, size0: tuple[int, int] = (5000, 3700), cell0_px: int = 50
) -> Painting:
    """Black rectangles on white; the heatmap is 1 in them and has no value elsewhere.

    Their sides are whole cells.
    """
    width, height = size0
    rgb = np.full((height, width, 3), 255, np.uint8)
    shape = math.ceil(height / cell0_px), math.ceil(width / cell0_px)
    probability = np.full(shape, np.nan, np.float32)
    for x0, y0, across, down in rectangles:
        rgb[y0 : y0 + down, x0 : x0 + across] = 0
        x, y, w, h = (side // cell0_px for side in (x0, y0, across, down))
        probability[y : y + h, x : x + w] = 1
    return Painting(rgb, probability, cell0_px)


def halve(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """2 x 2 means; an odd edge is repeated."""
    odd_rows, odd_columns = rgb.shape[0] % 2, rgb.shape[1] % 2
    even = np.pad(rgb, ((0, odd_rows), (0, odd_columns), (0, 0)), "edge").astype(np.uint16)
    sums = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((sums + 2) // 4).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()
