"""Tiles on disk: the pixels that a model is fed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.store.rows import RowLayout, RowStore, RowWriter

__all__ = ["TileStore", "shard_tiles"]

SHARD_BYTES = 32 << 20  # of pixels: what is held in memory and flushed as one
CHUNK_BYTES = 1 << 20  # of pixels: what is unpacked to read one tile


class TileStore(RowStore):
    """A complete store of tiles. Reading one tile unpacks about a megabyte, no more."""

    @staticmethod
    def create(
        path: Path,
        xy0: NDArray[np.int64],
        tile_px: int,
        made_from: Mapping[str, Any],
        *,
        restart: bool = False,
        overwrite: bool = False,
    ) -> RowWriter:
        """A writer of uint8 (n, tile_px, tile_px, 3), new or where a stopped run was."""
        layout = RowLayout(
            kind="tiles",
            array="rgb",
            row_shape=(tile_px, tile_px, 3),
            dtype="uint8",
            shard_rows=shard_tiles(tile_px),
            chunk_rows=_power_of_two(CHUNK_BYTES, tile_px),
            fill_value=0,
            attributes={"tile_px": tile_px},
        )
        return RowWriter(path, layout, xy0, made_from, restart=restart, overwrite=overwrite)

    def __init__(self, path: Path) -> None:
        super().__init__(path, "tiles", "rgb")

    @classmethod
    def open(cls, path: Path) -> "TileStore":
        """Raises StoreIncomplete, StoreMismatch. Damage shows in verify() or read()."""
        return cls(path)

    @property
    def tile_px(self) -> int:
        return int(self.attributes["tile_px"])

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 (stop - start, tile_px, tile_px, 3), RGB. Raises StoreIncomplete."""
        if not self.has_shards(start, stop):  # zarr would take a missing one for black tiles
            raise self.damage(start, stop)
        try:
            return np.asarray(self._rows[start:stop], np.uint8)
        except (OSError, ValueError, RuntimeError) as error:
            raise self.damage(start, stop) from error


def shard_tiles(tile_px: int) -> int:
    """Tiles a shard: a power of two, at most 32 MiB of pixels."""
    return _power_of_two(SHARD_BYTES, tile_px)


def _power_of_two(limit_bytes: int, tile_px: int) -> int:
    fitting = max(1, limit_bytes // (tile_px * tile_px * 3))
    return 1 << (fitting.bit_length() - 1)
