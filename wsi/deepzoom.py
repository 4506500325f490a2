"""Deep Zoom and XYZ addresses over a frame: a slide's level 0, whatever is shown on it.

Both are pictures of the frame at 1/2**k of its size, cut into tiles without overlap. A pixel of a
picture covers exactly 2**k by 2**k level-0 px from the frame's top left corner, so that a slide and
its heatmap lie on each other at every zoom. Pure arithmetic, no pixels.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree

from wsi.errors import InvalidOption
from wsi.geometry import Box, Size

__all__ = ["TILE_PX", "Address", "Pyramid"]

TILE_PX = 256

NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"


class Address(NamedTuple):
    """A tile: its box in px of a picture whose px are `scale0` level-0 px a side."""

    box: Box
    scale0: int


@dataclass(frozen=True)
class Pyramid:
    """Pictures of a frame of `size0` level-0 px."""

    size0: Size
    tile_px: int = TILE_PX

    @property
    def deepest(self) -> int:
        """The Deep Zoom level that shows level 0 as it is; level 0 of Deep Zoom is one px."""
        return math.ceil(math.log2(max(self.size0)))

    @property
    def deepest_z(self) -> int:
        """The z of XYZ that shows level 0 as it is; at z = 0 the whole frame is in one tile."""
        return max(0, math.ceil(math.log2(max(self.size0) / self.tile_px)))

    def level_size(self, level: int) -> Size:
        """Of a Deep Zoom level. Raises InvalidOption."""
        return self._size(self._scale0(level))

    def tile(self, level: int, column: int, row: int) -> Address:
        """A Deep Zoom tile, cut at the edge of the frame. Raises InvalidOption."""
        scale0 = self._scale0(level)
        box = self._square(column, row).intersection(Box(0, 0, *self._size(scale0)))
        if column < 0 or row < 0 or box.is_empty:
            raise InvalidOption(f"level {level} has no tile in column {column}, row {row}")
        return Address(box, scale0)

    def xyz(self, z: int, x: int, y: int) -> Address:
        """An XYZ tile: a whole square, at the edge beyond the frame. Raises InvalidOption."""
        if not 0 <= z <= self.deepest_z:
            raise InvalidOption(f"zoom {z}: use 0 to {self.deepest_z}")
        scale0 = 1 << (self.deepest_z - z)
        box = self._square(x, y)
        if x < 0 or y < 0 or box.intersection(Box(0, 0, *self._size(scale0))).is_empty:
            raise InvalidOption(f"zoom {z} has no tile at x {x}, y {y}")
        return Address(box, scale0)

    def dzi(self, format: str) -> bytes:
        """The Deep Zoom descriptor, XML in UTF-8."""
        image = ElementTree.Element(
            "Image",
            xmlns=NAMESPACE,
            TileSize=str(self.tile_px),
            Overlap="0",
            Format=format,
        )
        ElementTree.SubElement(
            image, "Size", Width=str(self.size0.width), Height=str(self.size0.height)
        )
        return bytes(ElementTree.tostring(image, encoding="UTF-8", xml_declaration=True))

    def _scale0(self, level: int) -> int:
        if not 0 <= level <= self.deepest:
            raise InvalidOption(f"Deep Zoom level {level}: use 0 to {self.deepest}")
        return 1 << (self.deepest - level)

    def _size(self, scale0: int) -> Size:
        return Size(-(-self.size0.width // scale0), -(-self.size0.height // scale0))

    def _square(self, column: int, row: int) -> Box:
        side = self.tile_px
        return Box(column * side, row * side, side, side)
