"""What a way of computing loses, on labelled tiles."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.card import ModelCard
from models.datasets import TileSet, load_tiles
from models.errors import DatasetError, ModelError
from models.metrics import measure
from models.network import TorchClassifier, default_batch, load_network
from models.registry import is_torchscript, resolve_model
from models.speed.quantised import RangeObserver
from models.speed.trials import score_plainly
from models.speed.tuning import Tuning
from models.split import read_split

__all__ = ["Loss", "compare", "tune_int8", "watch_ranges"]

OBSERVED_TILES = 512


@dataclass(frozen=True)
class Loss:
    """auc, ece: the other way's less plain float32's. largest, mean: differences of a probability
    of the positive class. differing: share of tiles whose class at the card's threshold differs.
    """

    tiles: int
    auc: float
    ece: float
    largest: float
    mean: float
    differing: float

    def to_text(self) -> str:
        return (
            f"on {self.tiles:,} tiles AUC {self.auc:+.5f}, ECE {self.ece:+.5f}, probabilities "
            f"differ by {self.mean:.4f} on average and {self.largest:.3f} at most, the class of "
            f"{self.differing:.2%} of the tiles"
        )


def compare(
    label: NDArray[np.int64],
    plain: NDArray[np.float32],
    other: NDArray[np.float32],
    threshold: float,
) -> Loss:
    """plain, other: probabilities of the positive class, float32 (n,). Raises DatasetError."""
    before, after = measure(label, plain, threshold), measure(label, other, threshold)
    apart = np.abs(plain.astype(np.float64) - other)
    return Loss(
        tiles=len(label),
        auc=after["auc"] - before["auc"],
        ece=after["ece"] - before["ece"],
        largest=float(apart.max()),
        mean=float(apart.mean()),
        differing=float(((plain >= threshold) != (other >= threshold)).mean()),
    )


def tune_int8(model: str | Path, data: Path) -> tuple[Tuning, Loss]:
    """The network in 8 bits: ranges from the split's training patients, loss on its validation
    patients. data: labelled tiles, as models.datasets reads them. Raises ModelError.
    """
    card, weights = resolve_model(model)
    if weights is None or is_torchscript(weights):
        raise ModelError(f"{card.name} has no network of ours; int8 is for safetensors weights")
    tiles, split = load_tiles(data), read_split()
    seen, held_out = split.take(tiles, "train"), split.take(tiles, "validation")
    if len(seen) < OBSERVED_TILES or not len(held_out):
        raise DatasetError(
            f"{data} has {len(seen)} tiles of training and {len(held_out)} of validation patients "
            f"of the split; int8 needs {OBSERVED_TILES} and some"
        )
    int8 = Tuning("int8", "float32", default_batch(card, torch.device("cpu")))
    int8 = replace(int8, ranges=_observe(card, weights, seen, int8.batch_size))
    classifier = TorchClassifier(card, load_network(card, weights), "cpu", tuning=int8)
    other = classifier.predict(held_out.rgb)[:, card.positive_index]
    plain = score_plainly(model, held_out.rgb, "cpu")[:, card.positive_index]
    loss = compare(held_out.label, plain, other, card.threshold)
    return replace(int8, loss=asdict(loss)), loss


def _observe(
    card: ModelCard, weights: Path, tiles: TileSet, size: int
) -> tuple[tuple[float, float], ...]:
    """Ranges on tiles that are spread over all patients."""
    step = len(tiles) // OBSERVED_TILES  # a multiple of 8: no batch is filled up with black
    rgb = tiles.rgb[::step][:OBSERVED_TILES]
    classifier, observer = watch_ranges(card, weights, size)
    classifier.predict(rgb)
    return observer.ranges


def watch_ranges(
    card: ModelCard, weights: Path, batch_size: int
) -> tuple[TorchClassifier, RangeObserver]:
    """A classifier in float32, and what notes the ranges of its numbers while it scores."""
    observer = RangeObserver(load_network(card, weights), card.input_px)
    plain = Tuning("plain", "float32", batch_size)
    return TorchClassifier(card, observer, "cpu", tuning=plain, lanes=1), observer
