"""A slide put together again from the tiles that a data set was published as."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption

__all__ = ["NO_TILE", "LabelledTile", "Mosaic", "assemble_mosaic", "cut_padding"]

NO_TILE = 255  # white, where the publisher kept no tile: glass, or holes in the tissue


@dataclass(frozen=True)
class LabelledTile:
    """A tile with the coordinates of its file name: 1-based pixels at its own scale."""

    rgb: NDArray[np.uint8]  # (height, width, 3); less than 50 at the slide's right and bottom edge
    x: int
    y: int
    label: int  # 1 is IDC


@dataclass(frozen=True)
class Mosaic:
    rgb: NDArray[np.uint8]  # (height, width, 3)
    label: NDArray[np.uint8]  # (height, width): 0 no tile, 1 without IDC, 2 IDC


def assemble_mosaic(tiles: Iterable[LabelledTile]) -> Mosaic:
    """Every tile at (x - 1, y - 1); the picture ends with the farthest tile.

    Raises InvalidOption where there are no tiles, a coordinate is below 1, or two tiles overlap.
    """
    placed = list(tiles)
    if not placed:
        raise InvalidOption("no tiles to put together; name a patient that the data set has")
    for tile in placed:
        if tile.x < 1 or tile.y < 1:
            raise InvalidOption(f"a tile at ({tile.x}, {tile.y}); coordinates start at 1")
    width = max(tile.x - 1 + tile.rgb.shape[1] for tile in placed)
    height = max(tile.y - 1 + tile.rgb.shape[0] for tile in placed)
    mosaic = Mosaic(
        np.full((height, width, 3), NO_TILE, np.uint8), np.zeros((height, width), np.uint8)
    )
    for tile in placed:
        _place(mosaic, tile)
    return mosaic


def cut_padding(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view without the rows at the bottom and columns at the right that are NO_TILE throughout.

    Loaders fill small tiles up to 50x50 with it. A tile that is nothing else keeps one pixel.
    """
    filled = (rgb != NO_TILE).any(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    bottom = rows[-1] + 1 if len(rows) else 1
    right = columns[-1] + 1 if len(columns) else 1
    return rgb[:bottom, :right]


def _place(mosaic: Mosaic, tile: LabelledTile) -> None:
    height, width = tile.rgb.shape[:2]
    here = (slice(tile.y - 1, tile.y - 1 + height), slice(tile.x - 1, tile.x - 1 + width))
    if mosaic.label[here].any():
        raise InvalidOption(
            f"two tiles lie over each other at ({tile.x}, {tile.y}); take one patient at a time"
        )
    mosaic.rgb[here] = tile.rgb
    mosaic.label[here] = tile.label + 1
