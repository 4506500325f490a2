"""The record of a training run: a table, and TensorBoard's where that is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi.store.folder import partial_file

__all__ = ["Journal"]

TABLE = "log.csv"


class Journal:
    """Rows: an epoch each; what was not measured is empty. They come back with the run's state, so
    the table never has an epoch twice, nor one that the weights have not seen.
    """

    def __init__(self, folder: Path, *, done: int = 0, is_written: bool = True) -> None:
        """done: epochs of a run that goes on. is_written: not by every process."""
        self._table = folder / TABLE
        self._is_written = is_written
        self._board = _open_board(folder, done) if is_written else None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All rows so far, with "epoch" and the same names each time; the last one is new."""
        if not self._is_written:
            return
        with (
            partial_file(self._table) as partial,
            partial.open("w", newline="", encoding="utf-8") as table,
        ):
            writer = csv.DictWriter(table, fieldnames=list(rows[-1]))
            writer.writeheader()
            writer.writerows(rows)
        if self._board is not None:
            for name, value in rows[-1].items():
                if value is not None and name != "epoch":
                    self._board.add_scalar(name, value, rows[-1]["epoch"])
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, done: int) -> Any:
    """None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
