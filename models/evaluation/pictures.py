"""From the tiles of a picture to one verdict on it: the mean of their probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_by_picture"]


def mean_by_picture(
    prob: NDArray[np.floating], picture: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """prob: (tiles, classes); picture: (tiles,), of which each is.

    The pictures, ascending, int64 (m,); and their tiles' means, float64 (m, classes).
    """
    found, place, counts = np.unique(picture, return_inverse=True, return_counts=True)
    sums = np.zeros((len(found), prob.shape[1]))
    np.add.at(sums, place, prob)
    return found, sums / counts[:, None]
