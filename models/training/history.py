"""How a training went, epoch by epoch: for the card, and as a picture beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.evaluation.curves import draw_training
from models.recipe import TrainConfig
from wsi.store.folder import partial_file

__all__ = ["CURVES", "tell_history", "write_curves"]

CURVES = "curves.png"
NAMES = {
    "loss": "loss",
    "validation_loss": "validation loss",
    "accuracy": "validation accuracy",
    "auc": "validation AUC",
}
WATCHED = {"loss": "validation_loss", "accuracy": "accuracy", "auc": "auc"}
DIGITS = 4


def tell_history(rows: Sequence[Mapping[str, Any]], config: TrainConfig) -> dict[str, Any]:
    """rows: those of the log. kept_epoch: counted from 1, whose weights are the model's."""
    history = {
        name: [None if row[key] is None else round(row[key], DIGITS) for row in rows]
        for key, name in NAMES.items()
    }
    return {"history": history, "kept_epoch": _kept(rows, config)}


def write_curves(told: Mapping[str, Any], out: Path) -> None:
    """told: what tell_history() gave."""
    drawn = draw_training(told["history"], chosen=told["kept_epoch"])
    with partial_file(out / CURVES) as partial:
        partial.write_bytes(drawn)


def _kept(rows: Sequence[Mapping[str, Any]], config: TrainConfig) -> int:
    name = WATCHED[config.watch]
    measured = [row for row in rows if row[name] is not None]
    if config.keep != "best" or not measured:
        return len(rows)
    choose = min if config.watch == "loss" else max
    best = choose(row[name] for row in measured)
    return int(next(row["epoch"] for row in measured if row[name] == best))
