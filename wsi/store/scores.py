"""Scores on disk: a probability for each tile and class, and a number for each channel."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.store.rows import RowLayout, RowStore, RowWriter

__all__ = ["SCORE_SHARD", "ScoreStore"]

SCORE_SHARD = 1024
"""Tiles a shard. About a second of the network on two cores at 50 px; more is lost by a kill, less
spends it on flushing."""


class ScoreStore(RowStore):
    """A complete store of scores. Its checksums are verified when it is opened."""

    @staticmethod
    def create(
        path: Path,
        xy0: NDArray[np.int64],
        classes: Sequence[str],
        made_from: Mapping[str, Any],
        *,
        channels: Sequence[str] = (),
        shard_rows: int = SCORE_SHARD,
        restart: bool = False,
        overwrite: bool = False,
    ) -> RowWriter:
        """A writer of float32 (n, classes + channels), new or where a stopped run was; see
        RowWriter."""
        layout = RowLayout(
            kind="scores",
            array="prob",
            row_shape=(len(classes) + len(channels),),
            dtype="float32",
            shard_rows=shard_rows,
            chunk_rows=shard_rows,
            fill_value=float("nan"),
            attributes={"classes": list(classes), "channels": list(channels)},
        )
        return RowWriter(path, layout, xy0, made_from, restart=restart, overwrite=overwrite)

    def __init__(self, path: Path) -> None:
        super().__init__(path, "scores", "prob")
        self.verify()

    @classmethod
    def open(cls, path: Path) -> "ScoreStore":
        """Raises StoreIncomplete, StoreMismatch."""
        return cls(path)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.attributes["classes"])

    @cached_property
    def prob(self) -> NDArray[np.float32]:
        """float32 (n, classes), in the order of xy0."""
        return self._columns[:, : len(self.classes)]

    @cached_property
    def channels(self) -> dict[str, NDArray[np.float32]]:
        """By name float32 (n,); empty in a store of before there were any."""
        names = self.attributes.get("channels", [])
        return dict(zip(names, self._columns[:, len(self.classes) :].T, strict=True))

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        return np.asarray(self._rows[...], np.float32)
