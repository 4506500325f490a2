"""Which tiles an epoch visits, and in which order: pure arithmetic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.datasets import Labels
from models.recipe import TrainConfig

__all__ = ["cut_batches", "draw_epoch"]

Int64Array = npt.NDArray[np.int64]


def draw_epoch(data: Labels, config: TrainConfig, epoch: int) -> Int64Array:
    """Shuffled indices, as the recipe's `sampler` says."""
    rng = np.random.default_rng([config.seed, epoch])
    if config.sampler == "all":
        return rng.permutation(len(data))
    if config.sampler == "balanced":
        return _draw_balanced(data, rng)
    return _draw_patients(data, config.patient_tiles, rng)


def cut_batches(index: Int64Array, size: int) -> list[Int64Array]:
    """Full ones; what is left over comes in another epoch's order. A small set is one batch."""
    starts = range(0, max(len(index) - size, 0) + 1, size)
    return [index[start : start + size] for start in starts]


def _draw_patients(data: Labels, most: int, rng: np.random.Generator) -> Int64Array:
    """Every tile of a patient, or `most` drawn anew where it has more.

    So a complete slide of a thousand tiles weighs no more than a few sampled patients.
    """
    patient = data.patient
    of_patient = [np.flatnonzero(patient == name) for name in data.patients]
    return rng.permutation(np.concatenate([rng.permutation(index)[:most] for index in of_patient]))


def _draw_balanced(data: Labels, rng: np.random.Generator) -> Int64Array:
    """As many as there are, with replacement; each class as likely as the others."""
    label = data.label
    count = np.bincount(label)
    weight = 1 / count[label]
    return rng.choice(len(label), len(label), p=weight / weight.sum())
