"""Is one model better than another? On the same pictures, over the same resampled patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.classes import bootstrap
from models.metrics import Interval

__all__ = ["Difference", "compare_models"]

Scored = Callable[[NDArray[np.int64]], dict[str, float]]
"""Figures of one model on the rows of an index."""


@dataclass(frozen=True)
class Difference:
    """Of one figure: a model's less the first one's. favours: the share of resamples in which it is
    larger; no p-value, but read like one: near 0.5 says nothing."""

    model: str
    against: str
    figure: str
    interval: Interval
    favours: float
    patients: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero. That of one patient is none."""
        return self.patients > 1 and (self.interval.low > 0 or self.interval.high < 0)


def compare_models(
    models: Mapping[str, Scored],
    label: NDArray[np.int64],
    patient: NDArray[np.str_],
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """Paired: each resample of patients is the same for all models, so that hard patients are hard
    for both. The first model is the one that the others are compared with.
    """
    (base, of_base), *others = models.items()
    patients = len(np.unique(patient))
    found = []
    for name, of_other in others:
        shares: dict[str, list[bool]] = {}

        def apart(
            index: NDArray[np.int64],
            of_other: Scored = of_other,
            shares: dict[str, list[bool]] = shares,
        ) -> dict[str, float]:
            one, two = of_base(index), of_other(index)
            gaps = {figure: two[figure] - one[figure] for figure in one if figure in two}
            for figure, gap in gaps.items():
                shares.setdefault(figure, []).append(gap > 0)
            return gaps

        intervals = bootstrap(label, patient, apart, rounds=rounds, seed=seed)
        found += [
            Difference(name, base, figure, interval, float(np.mean(shares[figure][1:])), patients)
            for figure, interval in intervals.items()
        ]
    return found
