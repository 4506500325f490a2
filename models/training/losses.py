"""What training makes small: functions of logits and soft labels, both float (n, classes)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.errors import DatasetError

__all__ = ["LOSSES", "balanced_weights", "make_loss"]

Loss = Callable[[Tensor, Tensor], Tensor]


def balanced_weights(label: npt.NDArray[np.int64], classes: tuple[str, ...]) -> Tensor:
    """n / (classes * n of the class), float32: scikit-learn's "balanced" (King & Zeng 2001).

    Raises DatasetError where a class has no tile.
    """
    count = np.bincount(label, minlength=len(classes))
    if (count == 0).any():
        empty = ", ".join(name for name, n in zip(classes, count, strict=True) if n == 0)
        raise DatasetError(
            f"no training tile is of class {empty}; add some, or leave the class out of the recipe"
        )
    return torch.from_numpy(len(label) / (len(classes) * count)).float()


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Over the sum of the weights that each tile has by its label, so its size stays alike."""
    each = -(target * functional.log_softmax(logits, 1))
    if weight is None:
        return each.sum(1).mean()
    return (each * weight).sum() / (target * weight).sum()


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Lin et al. 2017, arXiv:1708.02002: what is nearly right counts little."""
    log_prob = functional.log_softmax(logits, 1)
    hard = (1 - log_prob.exp()).clamp(min=0) ** gamma
    return -(target * hard * log_prob).sum(1).mean()


def make_loss(name: str, weight: Tensor, *, gamma: float, label_smoothing: float) -> Loss:
    """weight: float (classes,), which only the weighted loss uses."""
    chosen = LOSSES[name](weight, gamma)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        even = 1 / target.shape[1]
        smooth = target * (1 - label_smoothing) + label_smoothing * even
        return chosen(logits.float(), smooth)

    return loss


LOSSES: Mapping[str, Callable[[Tensor, float], Loss]] = {
    "cross-entropy": lambda weight, gamma: cross_entropy,
    "weighted": lambda weight, gamma: lambda logits, target: cross_entropy(logits, target, weight),
    "focal": lambda weight, gamma: lambda logits, target: focal(logits, target, gamma),
}
