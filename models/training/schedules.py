"""How the learning rate goes, and when training stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any

__all__ = ["SCHEDULES", "Watch", "scale_rate"]

CYCLE_START = 1 / 25
CYCLE_END = 1 / 25e4
CYCLE_PEAK = 0.3
"""Of the one-cycle policy (Smith & Topin 2019, arXiv:1708.07120): first and last rate over the
highest, and where that lies; the values of fast.ai and PyTorch."""


def _constant(done: float, decay: float) -> float:
    return 1.0


def _linear(done: float, decay: float) -> float:
    return min((1 - done) / decay, 1.0) if decay else 1.0


def _cosine(done: float, decay: float) -> float:
    """Half a wave over the last `decay` of the epochs (Loshchilov & Hutter 2017)."""
    falling = max(0.0, done - (1 - decay)) / decay if decay else 0.0
    return (1 + cos(pi * falling)) / 2


def _one_cycle(done: float, decay: float) -> float:
    if done < CYCLE_PEAK:
        return _between(CYCLE_START, 1.0, done / CYCLE_PEAK)
    return _between(1.0, CYCLE_END, (done - CYCLE_PEAK) / (1 - CYCLE_PEAK))


def _between(start: float, end: float, share: float) -> float:
    """Along half a cosine wave."""
    return end + (start - end) * (1 + cos(pi * share)) / 2


SCHEDULES: Mapping[str, Callable[[float, float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "plateau": _constant,  # Watch says when it falls
}
"""(share of the epochs that are done, share over which the rate falls) → share of the rate."""


def scale_rate(
    schedule: str, epoch: float, epochs: int, *, warmup_epochs: int, decay_epochs: int
) -> float:
    """Share of the highest learning rate at a real-valued epoch. The warm-up is linear."""
    warm = epoch / warmup_epochs if warmup_epochs else 1.0
    return min(warm, SCHEDULES[schedule](epoch / epochs, decay_epochs / epochs), 1.0)


@dataclass
class Watch:
    """Looks at one number after each validation; smaller is better.

    patience: validations without a better one before the rate is multiplied by `factor`;
    stop_after: before training stops. 0: never.
    """

    patience: int = 0
    factor: float = 0.1
    stop_after: int = 0
    best: float = float("inf")
    waited: int = 0
    since_cut: int = 0
    cuts: int = 0

    def see(self, value: float) -> bool:
        """True where it is the best so far. Not a number is no improvement."""
        if value < self.best:
            self.best, self.waited, self.since_cut = value, 0, 0
            return True
        self.waited += 1
        self.since_cut += 1
        if self.patience and self.since_cut >= self.patience:
            self.cuts, self.since_cut = self.cuts + 1, 0
        return False

    @property
    def scale(self) -> float:
        """What the learning rate is multiplied by."""
        return self.factor**self.cuts

    @property
    def is_over(self) -> bool:
        return bool(self.stop_after) and self.waited >= self.stop_after

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
