"""Whom a run learns from and whom it is chosen with: for its card, its folder, and its resume."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets import Labelled
from models.recipe import TrainConfig
from models.split import PatientRow, Split, write_split
from models.training.parts import Parts

__all__ = ["SPLIT_FILE", "digest_parts", "name_sides", "write_sides"]

SPLIT_FILE = "split.json"
LOOKED_AT = 256  # tiles of each part
METHOD = "As {name} was trained and validated; whoever had no say in it is for testing."


def name_sides(parts: Parts) -> dict[str, Any]:
    """Patients by name, for the card: an evaluation refuses to test on them."""
    return {
        "trained_on": list(parts.training.patients),
        "validated_on": list(parts.validation.patients),
    }


def write_sides(parts: Parts, config: TrainConfig, out: Path) -> None:
    """A split file that tells them, for `wsi evaluate --split`. None is written where the same
    patients do both."""
    both = {"train": parts.training, "validation": parts.validation}
    rows = [
        _row(tiles, patient, part, len(config.classes))
        for part, tiles in both.items()
        for patient in tiles.patients
    ]
    if len({row.patient for row in rows}) == len(rows):
        method = METHOD.format(name=config.name)
        split = Split(config.seed, method, "test", tuple(rows), config.classes)
        write_split(split, out / SPLIT_FILE)


def digest_parts(parts: Parts) -> str:
    """sha256 of patients, labels and of the pixels of tiles that are spread over each part."""
    digest = hashlib.sha256()
    for tiles in (parts.training, parts.validation):
        digest.update("\n".join(tiles.patient.tolist()).encode())
        digest.update(np.ascontiguousarray(tiles.label, np.int64).tobytes())
        index = np.unique(np.linspace(0, len(tiles) - 1, LOOKED_AT).astype(np.int64))
        digest.update(np.ascontiguousarray(tiles.batch(index)).tobytes())
    return digest.hexdigest()


def _row(tiles: Labelled, patient: str, part: str, classes: int) -> PatientRow:
    mine = tiles.patient == patient
    counts = Counter(tiles.label[mine].tolist())
    return PatientRow(
        patient,
        part,
        bool(tiles.complete[mine].all()),
        int(mine.sum()),
        classes=tuple(counts[label] for label in range(classes)),
    )
