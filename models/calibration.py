"""From what a network says to a probability that comes true as often as it says: with numpy alone.

A card holds the temperature or the curves; models.training.fitting finds them on validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import CardError

if TYPE_CHECKING:
    from models.card import ModelCard

__all__ = ["Curve", "calibrated"]

SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.nextafter(np.float32(1), np.float32(0)))


@dataclass(frozen=True)
class Curve:
    """A monotone function of a raw probability: straight from point to point, level outside.

    x: rising, y: not falling, both in 0..1. Raises CardError.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.y):
            raise CardError(
                f"a calibration curve has {len(self.x)} x and {len(self.y)} y; it needs as many of "
                "each, at least one"
            )
        if not all(low < high for low, high in pairwise(self.x)):
            raise CardError("the x of a calibration curve do not rise; sort them, each once")
        if not all(low <= high for low, high in pairwise(self.y)):
            raise CardError("the y of a calibration curve fall; isotonic regression's never do")
        if not all(0 <= value <= 1 for value in (*self.x, *self.y)):
            raise CardError("a calibration curve leaves 0..1; x and y are probabilities")

    def at(self, raw: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(np.interp(raw, self.x, self.y), np.float64)


def calibrated(card: ModelCard, raw: NDArray[np.floating]) -> NDArray[np.float32]:
    """Raw probabilities (n, classes) as the card corrects them: float32 (n, classes).

    The temperature divides the logits, which are log p, of a sigmoid log p - log(1 - p) (Guo et al.
    2017, arXiv:1706.04599). Curves: with two classes that of the positive one, the other class is
    the rest; with more each class's own, divided by their sum (Zadrozny & Elkan 2002,
    doi 10.1145/775047.775151). Both keep the order of two classes' tiles, a curve up to ties.
    """
    if card.curves:
        return _by_curves(card, raw).astype(np.float32)
    if card.temperature == 1:
        return np.asarray(raw, np.float32)
    prob = np.clip(raw.astype(np.float64), SMALLEST, 1)
    if card.activation == "sigmoid":
        prob = np.minimum(prob, LARGEST)
        odds = (prob / (1 - prob)) ** (1 / card.temperature)
        return np.asarray(odds / (1 + odds), np.float32)
    power = prob ** (1 / card.temperature)
    return np.asarray(power / power.sum(1, keepdims=True), np.float32)


def _by_curves(card: ModelCard, raw: NDArray[np.floating]) -> NDArray[np.float64]:
    if len(card.curves) == 1:
        positive = card.curves[0].at(raw[:, card.positive_index])
        if len(card.classes) == 1:
            return positive[:, None]
        prob = np.stack([1 - positive, positive], axis=1)
        return prob if card.positive_index else prob[:, ::-1]
    prob = np.stack([curve.at(column) for curve, column in zip(card.curves, raw.T, strict=True)], 1)
    total = prob.sum(1, keepdims=True)
    equal = np.full_like(prob, 1 / len(card.classes))
    np.divide(prob, total, out=equal, where=total > 0)
    return equal
