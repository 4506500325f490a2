"""Pictures of a labelled set to the probabilities that a model gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.datasets import TILE_MPP, TILE_PX, Damage, Pictures
from models.datasets.cutting import Cut
from models.datasets.items import refuse_damaged
from models.datasets.reading import map_pictures
from models.errors import ModelError
from models.evaluation.pictures import mean_by_picture
from models.infer import Classifier

__all__ = ["Answers", "cut_for", "score_pictures"]

STEP_PX = 2048 * TILE_PX * TILE_PX  # of the tiles that are handed over at once
MPP_TOLERANCE = 0.1  # of the IDC tiles, whose resolution is not known better

Progress = Callable[[int, int], None]


class Answers(NamedTuple):
    """prob: float32 (pictures, classes of the model), of a picture that was cut up its tiles' mean.
    of_tiles: float32 (tiles, classes); picture: int64 (tiles,), of which each is."""

    prob: NDArray[np.float32]
    of_tiles: NDArray[np.float32]
    picture: NDArray[np.int64]


def cut_for(card: ModelCard, pictures: Pictures) -> Cut:
    """IDC tiles are taken as they are; larger pictures are cut up as a slide is, at the card's
    resolution. Raises ModelError where the tiles are not those that the model takes.
    """
    if not pictures.is_idc:
        return Cut("tiles", card.tile_px, card.mpp)
    if card.tile_px != TILE_PX or abs(card.mpp / TILE_MPP - 1) > MPP_TOLERANCE:
        raise ModelError(
            f"{card.name} takes {card.tile_px} px at {card.mpp:g} um/px; these tiles are "
            f"{TILE_PX} px at {TILE_MPP:g} um/px, so it cannot be evaluated on them"
        )
    return Cut("tile", TILE_PX)


def score_pictures(
    classifier: Classifier, pictures: Pictures, cut: Cut, progress: Progress | None = None
) -> Answers:
    """Pixels of a few files are in memory. progress: called with pictures done, and all. Raises
    DatasetError that names the pictures that cannot be read.
    """
    answers = [np.empty((0, len(classifier.card.classes)), np.float32)]
    counts: list[int] = []
    for tiles, of_each in _batches(pictures, cut):
        answers.append(classifier.predict(tiles))
        counts += of_each
        if progress is not None:
            progress(len(counts), len(pictures))
    of_tiles, picture = np.concatenate(answers), np.repeat(np.arange(len(counts)), counts)
    return Answers(mean_by_picture(of_tiles, picture)[1].astype(np.float32), of_tiles, picture)


def _batches(pictures: Pictures, cut: Cut) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
    """(tiles of several pictures, how many each has)."""
    waiting: list[NDArray[np.uint8]] = []
    damaged: list[Damage] = []
    most = max(1, STEP_PX // cut.px**2)
    for made in map_pictures(pictures, cut.apply):
        if isinstance(made, Damage):
            damaged.append(made)
            continue
        if damaged:  # the rest is read to name all at once
            continue
        if waiting and sum(map(len, waiting)) + len(made) > most:
            yield _joined(waiting)
            waiting = []
        waiting.append(made)
    refuse_damaged(pictures.folder, damaged, len(pictures))
    if waiting:
        yield _joined(waiting)


def _joined(waiting: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], list[int]]:
    return np.concatenate(waiting), [len(tiles) for tiles in waiting]
