"""Scored tiles in blocks, for writers that stream."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.export.source import ExportSource

__all__ = ["BLOCK_TILES", "TileBlock", "tile_blocks"]

BLOCK_TILES = 4096
"""Tiles held as Python objects at once: 4 MB or so, whatever the size of the slide."""


@dataclass(frozen=True)
class TileBlock:
    """Some tiles in the source's order; starts and ends (x, y) in level-0 px, int64 (n, 2)."""

    starts0: NDArray[np.int64]
    ends0: NDArray[np.int64]
    prob: NDArray[np.float32]  # (n, classes)
    channels: tuple[NDArray[np.float32], ...]  # each (n,)

    @property
    def texts(self) -> list[list[str]]:
        """One list a class, then a channel: the shortest decimals that give the float32 again."""
        return [[str(value) for value in column] for column in (*self.prob.T, *self.channels)]


def tile_blocks(source: ExportSource, count: int = BLOCK_TILES) -> Iterator[TileBlock]:
    """All scored tiles, `count` at a time."""
    grid = source.grid
    for first in range(0, len(source.indices), count):
        some = slice(first, first + count)
        rows, columns = source.indices[some].T
        starts0 = np.stack([grid.starts_x0[columns], grid.starts_y0[rows]], axis=1)
        ends0 = np.stack([grid.ends_x0[columns], grid.ends_y0[rows]], axis=1)
        channels = tuple(values[some] for values in source.channels.values())
        yield TileBlock(starts0, ends0, source.prob[some], channels)
