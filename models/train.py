"""Training of a tile classifier: a recipe and a loop.

On a machine shared with other work set OMP_WAIT_POLICY=passive: threads that spin while they wait
for each other at every layer were measured to train several times slower there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.checkpoint import load_backbone
from models.datasets import TileSet, load_tiles, require_trainable
from models.errors import DatasetError
from models.network import choose_device
from models.recipe import TrainConfig
from models.registry import build
from models.release import make_card, release
from models.run import Run
from models.split import read_split

__all__ = ["TrainConfig", "TrainProgress", "draw_epoch", "load_parts", "train"]

STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainProgress:
    """After an epoch. auc is that of the sampled validation patients, where it was measured."""

    epoch: int
    epochs: int
    loss: float
    tiles_per_s: float
    auc: float | None

    def __str__(self) -> str:
        auc = "" if self.auc is None else f", validation AUC {self.auc:.4f}"
        return (
            f"epoch {self.epoch} of {self.epochs}: loss {self.loss:.4f}, "
            f"{self.tiles_per_s:.0f} tiles/s{auc}"
        )


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    weights: Path | None = None,
    on_progress: Callable[[TrainProgress], None] = lambda progress: None,
) -> Path:
    """Trains, calibrates on the validation patients, and returns the path of the card in `out`.

    A run that was stopped goes on where it was, and ends in the same weights.
    weights: safetensors of a torchvision state dict to start from; its head is left out.
    Raises DatasetError where the data lack a class, or a part of the split; WeightsError where
    `out` holds a run of another recipe; CardError where the recipe makes no card.
    """
    make_card(config, "weights", "0" * 64)  # a card that cannot be is refused now, not at the end
    training, validation = load_parts(data)
    run = _start(config, device, weights)
    out.mkdir(parents=True, exist_ok=True)
    for epoch in range(run.resume(out / STATE), config.epochs):
        started = time.perf_counter()
        index = draw_epoch(training, config, epoch)
        losses = [
            run.step(
                training.rgb[batch],
                training.label[batch],
                epoch,
                step,
                config.rate(epoch + step * config.batch_size / len(index)),
            )
            for step, batch in enumerate(_batches(index, config.batch_size))
        ]
        tiles_per_s = len(losses) * config.batch_size / (time.perf_counter() - started)
        auc = _validate(run, validation) if _is_due(config, epoch) else None
        run.save(out / STATE, epoch + 1)
        loss = float(np.mean(losses))
        on_progress(TrainProgress(epoch + 1, config.epochs, loss, tiles_per_s, auc))
    return release(config, run.average, validation, out, device)


def load_parts(data: Path) -> tuple[TileSet, TileSet]:
    """Training tiles, and those of validation patients that are sampled, not complete."""
    tiles = load_tiles(data)
    require_trainable(tiles)
    split = read_split()
    parts = {
        "train": split.take(tiles, "train"),
        "validation": split.take(tiles, "validation", complete=False),
    }
    for part, mine in parts.items():
        if len(set(mine.label.tolist())) < 2:
            raise DatasetError(
                f"{data} has {len(mine)} {part} tiles, of {len(mine.patients)} sampled patients; "
                f"training needs tiles of both classes there (the split: models/splits/idc.json)"
            )
    return parts["train"], parts["validation"]


def draw_epoch(tiles: TileSet, config: TrainConfig, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffled indices: every tile of a patient, or `patient_tiles` drawn anew where it has more.

    So a complete slide of a thousand tiles weighs no more than a few sampled patients.
    """
    rng = np.random.default_rng([config.seed, epoch])
    of_patient = [np.flatnonzero(tiles.patient == patient) for patient in tiles.patients]
    drawn = [rng.permutation(index)[: config.patient_tiles] for index in of_patient]
    return rng.permutation(np.concatenate(drawn))


def _batches(index: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Full ones; what is left over comes in another epoch's order. A small set is one batch."""
    for start in range(0, max(len(index) - size, 0) + 1, size):
        yield index[start : start + size]


def _is_due(config: TrainConfig, epoch: int) -> bool:
    return (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs


def _validate(run: Run, tiles: TileSet) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(tiles.label, run.score(tiles)))


def _start(config: TrainConfig, device: str, weights: Path | None) -> Run:
    torch.manual_seed(config.seed)
    network = build(config.architecture, len(config.classes))
    if weights:
        load_backbone(network, weights)
    return Run(network.to(choose_device(device)), config)
