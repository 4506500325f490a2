import numpy as np
import pytest
import torch
from torch.nn import functional

from models.errors import DatasetError
from models.training.losses import LOSSES, balanced_weights, make_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [1.0, 1.0, 1.0]])
LABEL = torch.tensor([0, 2, 1])
WEIGHT = torch.tensor([1.0, 2.0, 5.0])


def one_hot() -> torch.Tensor:
    return functional.one_hot(LABEL, 3).float()


def value(name: str, *, gamma: float = 2.0, smoothing: float = 0.0) -> float:
    loss = make_loss(name, WEIGHT, gamma=gamma, label_smoothing=smoothing)
    return float(loss(LOGITS, one_hot()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torch_s(smoothing: float):
    expected = functional.cross_entropy(LOGITS, LABEL, label_smoothing=smoothing)

    assert value("cross-entropy", smoothing=smoothing) == pytest.approx(float(expected), rel=1e-6)


def test_weighted_cross_entropy_is_torch_s():
    expected = functional.cross_entropy(LOGITS, LABEL, WEIGHT)

    assert value("weighted") == pytest.approx(float(expected), rel=1e-6)


def test_focal_loss_is_that_of_torchvision_for_two_classes():
    from torchvision.ops import sigmoid_focal_loss

    score = torch.tensor([1.5, -0.3, 0.2])
    label = torch.tensor([1.0, 1.0, 0.0])
    logits = torch.stack([torch.zeros(3), score], 1)
    expected = sigmoid_focal_loss(score, label, alpha=-1, gamma=2.0, reduction="mean")

    loss = make_loss("focal", torch.ones(2), gamma=2.0, label_smoothing=0.0)

    target = torch.stack([1 - label, label], 1)
    assert float(loss(logits, target)) == pytest.approx(float(expected), rel=1e-5)


def test_focal_loss_of_gamma_zero_is_cross_entropy():
    assert value("focal", gamma=0.0) == pytest.approx(value("cross-entropy"), rel=1e-6)


def test_weights_make_classes_count_alike():
    weight = balanced_weights(np.array([0, 0, 0, 1]), ("a", "b"))

    assert weight.tolist() == pytest.approx([4 / 6, 2.0])


def test_a_class_without_tiles_is_named():
    with pytest.raises(DatasetError, match="no training tile is of class benign"):
        balanced_weights(np.array([0, 2]), ("normal", "benign", "invasive"))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_smaller_for_what_is_right(name: str):
    loss = make_loss(name, torch.ones(3), gamma=2.0, label_smoothing=0.0)

    assert (
        loss(4 * one_hot(), one_hot()) < loss(LOGITS, one_hot()) < loss(-4 * one_hot(), one_hot())
    )
