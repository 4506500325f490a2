"""Sides of a comparison next to each other: speed, and whether they scored the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Agreement", "Side", "agreement", "speed_rows"]


@dataclass(frozen=True)
class Side:
    """One side's tiles. xy0: int64 (n, 2), prob: float32 (n, classes), seconds: of the fastest
    round, stages: its parts, where known."""

    name: str
    xy0: NDArray[np.int64]
    prob: NDArray[np.float32]
    seconds: float
    stages: dict[str, float]
    device: str = ""

    @property
    def compared_seconds(self) -> float:
        """Mask, reading and network: what is beside them is left out where the side says it."""
        return sum(self.stages[name] for name in ("mask", "score")) if self.stages else self.seconds

    @property
    def tiles_per_second(self) -> float:
        return len(self.xy0) / self.compared_seconds


@dataclass(frozen=True)
class Agreement:
    """Of the tiles that both sides scored: how many, and how far their probabilities differ."""

    tiles: int
    largest: float
    median: float
    same_class: float  # the part whose likeliest class is the same


def agreement(ours: Side, theirs: Side) -> Agreement:
    _, mine, others = np.intersect1d(
        _keys(ours.xy0), _keys(theirs.xy0), assume_unique=True, return_indices=True
    )
    if not len(mine):
        raise ValueError(f"{ours.name} and {theirs.name} have no tile in common; is mpp the same?")
    left, right = ours.prob[mine], theirs.prob[others]
    apart = np.abs(left - right).max(1)
    same = float((left.argmax(1) == right.argmax(1)).mean())
    return Agreement(len(mine), float(apart.max()), float(np.median(apart)), same)


def speed_rows(ours: Side, theirs: list[Side]) -> list[dict[str, Any]]:
    """A row a side, ours first; ratio: our tiles a second divided by theirs."""
    rows = [_row(ours)]
    for side in theirs:
        found = agreement(ours, side)
        rows.append(
            _row(side)
            | {
                "ours / theirs": round(ours.tiles_per_second / side.tiles_per_second, 2),
                "tiles in common": found.tiles,
                "largest difference": round(found.largest, 5),
                "median difference": round(found.median, 5),
                "same class": round(found.same_class, 4),
            }
        )
    return rows


def _row(side: Side) -> dict[str, Any]:
    return {
        "side": f"{side.name} ({side.device})" if side.device else side.name,
        "tiles": len(side.xy0),
        "tiles/s": round(side.tiles_per_second, 1),
        "mask, reading, network, s": round(side.compared_seconds, 2),
        "whole, s": round(side.seconds, 2),
    }


def _keys(xy0: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number a corner: y and x are below 2**32."""
    keys: NDArray[np.int64] = xy0[:, 1] << 32 | xy0[:, 0]
    return keys
