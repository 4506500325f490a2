"""What a way of computing loses, counted on few tiles."""

import numpy as np
import pytest

from models.speed.accuracy import compare


def test_the_loss_is_counted_tile_by_tile() -> None:
    label = np.array([0, 0, 1, 1])
    plain = np.array([0.1, 0.4, 0.6, 0.9], np.float32)
    other = np.array([0.1, 0.7, 0.6, 0.8], np.float32)  # the second passes the third and 0.5

    loss = compare(label, plain, other, threshold=0.5)

    assert loss.tiles == 4
    assert loss.auc == pytest.approx(0.75 - 1.0)  # three of the four pairs are in order now
    assert loss.largest == pytest.approx(0.3)
    assert loss.mean == pytest.approx(0.1)
    assert loss.differing == 0.25


def test_equal_answers_lose_nothing() -> None:
    label, prob = np.array([0, 1, 1]), np.array([0.2, 0.3, 0.9], np.float32)

    loss = compare(label, prob, prob, threshold=0.5)

    assert (loss.auc, loss.ece, loss.largest, loss.differing) == (0, 0, 0, 0)
