"""A model's answer to a tile with everything that a heatmap shows of it, as columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.calibration import calibrated
from models.card import ModelCard
from models.infer import Classifier

__all__ = ["SYMMETRIES", "Scorer", "SymmetricClassifier", "channels_of", "symmetries"]

SYMMETRIES = 8
"""Of a square: four quarter turns, each also mirrored."""


def channels_of(card: ModelCard, *, tta: bool = False) -> tuple[str, ...]:
    """What a Scorer adds to the probabilities, as wsi.channels.CHANNELS names it.

    `raw` where the card corrects the network's answers: else it would be the probability again.
    """
    return ("raw",) * card.is_calibrated + ("uncertainty",) * tta


class Scorer:
    """predict() answers float32 (n, classes + channels): probabilities, then channels_of().

    tta: a tile is shown in its 8 symmetries, at 8 times the cost. Their raw probabilities are
    averaged, and the mean is calibrated: what is calibrated first and averaged then is too
    cautious (Rahaman & Thiery 2021, arXiv:2007.08792, of ensembles). `raw` is the mean.
    `uncertainty` is the standard deviation over the 8 (divided by 8, not 7) of the calibrated
    probability of the class that has the largest one in the answer; of two classes both have the
    same. Used by one thread at a time.
    """

    def __init__(self, classifier: Classifier, *, tta: bool = False) -> None:
        self._classifier, self._tta = classifier, tta
        self.channels = channels_of(classifier.card, tta=tta)

    @property
    def batch_size(self) -> int:
        return self._classifier.batch_size

    @property
    def device(self) -> str:
        return self._classifier.device

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (n, tile_px, tile_px, 3), any n. Raises ModelError."""
        card = self._classifier.card
        views = symmetries(rgb) if self._tta else [rgb]
        # (views, n, classes); the network has each batch once a symmetry
        raws = np.stack([self._classifier.predict_raw(view) for view in views])
        raw = raws.mean(0, dtype=np.float64) if self._tta else raws[0]
        prob = calibrated(card, raw)
        columns = [*prob.T]
        if "raw" in self.channels:
            columns.append(raw[:, card.positive_index])
        if self._tta:
            columns.append(_disagreement(card, raws, prob))
        return np.stack(columns, axis=1).astype(np.float32)


class SymmetricClassifier:
    """A Classifier that answers for each tile as a Scorer with tta does, without its channels."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @property
    def card(self) -> ModelCard:
        return self._classifier.card

    @property
    def device(self) -> str:
        return f"{self._classifier.device}, {SYMMETRIES} symmetries"

    @property
    def batch_size(self) -> int:
        return self._classifier.batch_size

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return calibrated(self.card, self.predict_raw(rgb))

    def predict_raw(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        raws = np.stack([self._classifier.predict_raw(view) for view in symmetries(rgb)])
        return np.asarray(raws.mean(0, dtype=np.float64), np.float32)

    def close(self) -> None:
        self._classifier.close()


def symmetries(rgb: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The 8 of square tiles (n, side, side, 3), the tiles themselves first."""
    turned = [np.rot90(rgb, turns, (1, 2)) for turns in range(4)]
    return [np.ascontiguousarray(view) for view in (*turned, *(one[:, :, ::-1] for one in turned))]


def _disagreement(
    card: ModelCard, raws: NDArray[np.float32], prob: NDArray[np.float32]
) -> NDArray[np.floating]:
    winner = prob.argmax(1)
    each = np.stack([calibrated(card, raw) for raw in raws])
    return np.asarray(each[:, np.arange(len(prob)), winner].std(0, dtype=np.float64))
