"""The looks of the patients that a model learns from, for its card."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.appearance import LOOK_MPP, Appearance, learn_appearance, look_of
from models.card import read_card, write_card
from models.datasets import Labelled
from models.errors import ModelError
from models.recipe import read_recipe
from models.registry import find_card
from models.training.parallel import Processes
from models.training.parts import read_parts

__all__ = ["add_appearance", "appearance_of", "small_pixels"]

MOST_PX = 40_000_000  # of a patient's tiles that are in memory at once
MOST_TILES = 400  # of a patient


def appearance_of(tiles: Labelled, mpp: float) -> Appearance | None:
    """tiles: of training, at `mpp` um/px. Of each patient as many, evenly, as give its look."""
    factor = max(1, int(LOOK_MPP / mpp))
    return learn_appearance((_look(tiles, name, factor) for name in tiles.patients), (mpp, mpp))


def add_appearance(model: str | Path, data: Path, recipe: str | Path | None = None) -> Path:
    """Writes into a model's card what its training tiles look like; the weights stay as they are.

    data: the folder that it was trained on. recipe: that it was trained by; by default of the
    model's name. Returns the card's path. Raises ModelError.
    """
    import torch

    path = find_card(model)
    card = read_card(path)
    config = read_recipe(recipe or card.name)
    with tempfile.TemporaryDirectory(prefix="wsi-looks-") as stores:
        parts = read_parts(config, data, Path(stores), Processes(torch.device("cpu")))
        appearance = appearance_of(parts.training, config.mpp)
    if appearance is None:
        raise ModelError(
            f"{data}: its training part has {len(parts.training.patients)} patients, too few to "
            "tell what is usual"
        )
    write_card(replace(card, appearance=appearance), path)
    return path


def _look(tiles: Labelled, patient: str, factor: int) -> NDArray[np.float64] | None:
    mine = np.flatnonzero(tiles.patient == patient)
    chosen = mine[:: max(1, len(mine) // MOST_TILES)]
    return look_of(np.concatenate([small_pixels(rgb, factor) for rgb in _parts(tiles, chosen)]))


def _parts(tiles: Labelled, index: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    first = tiles.batch(index[:1])
    step = max(1, MOST_PX // first[0, ..., 0].size)
    for start in range(0, len(index), step):
        yield tiles.batch(index[start : start + step])


def small_pixels(rgb: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Tiles (n, h, w, 3) averaged over blocks of factor by factor: their pixels, (m, 3). What does
    not fill a block is left out."""
    factor = min(factor, *rgb.shape[1:3])
    rows, columns = (side // factor for side in rgb.shape[1:3])
    whole = rgb[:, : rows * factor, : columns * factor].astype(np.float32)
    blocks = whole.reshape(len(rgb), rows, factor, columns, factor, 3)
    return np.asarray(blocks.mean((2, 4)).round(), np.uint8).reshape(-1, 3)
