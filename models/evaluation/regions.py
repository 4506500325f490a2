"""A heatmap against the truth of a slide: overlap at the threshold, and found regions.

Cells are those of the heatmap's grid: truth is 1, 0, or NaN where nobody labelled; prob is NaN
where nothing was scored. Both float, (rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FROC_AT", "Froc", "Overlap", "free_response", "overlap"]

Cells = NDArray[np.floating]

FROC_AT = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False regions a slide, on average, at which sensitivity is read: those of CAMELYON16
(Ehteshami Bejnordi et al. 2017, doi 10.1001/jama.2017.14585)."""

DIAGONAL = np.ones((3, 3), int)  # cells that touch at a corner are one region


@dataclass(frozen=True)
class Overlap:
    """At the threshold, on cells that are labelled; what was not scored counts as negative."""

    dice: float  # NaN where neither has a positive cell
    iou: float
    cells: int
    unscored: int  # labelled cells that the mask left out
    unscored_positive: int


@dataclass(frozen=True)
class Froc:
    """The curve, and `score`: mean sensitivity at FROC_AT false regions a slide."""

    false_a_slide: NDArray[np.float64]  # ascending
    sensitivity: NDArray[np.float64]
    at: dict[float, float]
    regions: int  # true ones, of all slides
    slides: int

    @property
    def score(self) -> float:
        return float(np.mean(list(self.at.values())))


def overlap(truth: Cells, prob: Cells, threshold: float) -> Overlap:
    labelled = np.isfinite(truth)
    true = labelled & (truth >= 0.5)
    with np.errstate(invalid="ignore"):
        found = labelled & (prob >= threshold)
    both, either = int((true & found).sum()), int((true | found).sum())
    unscored = labelled & ~np.isfinite(prob)
    return Overlap(
        dice=2 * both / (int(true.sum()) + int(found.sum())) if either else float("nan"),
        iou=both / either if either else float("nan"),
        cells=int(labelled.sum()),
        unscored=int(unscored.sum()),
        unscored_positive=int((unscored & true).sum()),
    )


def free_response(slides: Sequence[tuple[Cells, Cells]], threshold: float) -> Froc:
    """slides: (truth, prob) of each. threshold: of the cells that make a candidate region, whose
    score is its largest probability and whose place is that cell.

    A candidate whose place lies in a true region finds it; in none, it is a false one. Cells that
    nobody labelled, and candidates there, do not count.
    """
    finds: list[float] = []  # score by which each true region is found first
    false: list[float] = []
    total = 0
    for truth, prob in slides:
        found, wrong, count = _candidates(truth, prob, threshold)
        finds += found
        false += wrong
        total += count
    scores = np.unique([*finds, *false])[::-1]
    hits, misses = np.sort(finds), np.sort(false)
    sensitivity = (len(hits) - np.searchsorted(hits, scores)) / max(total, 1)
    false_a_slide = (len(misses) - np.searchsorted(misses, scores)) / max(len(slides), 1)
    at = {limit: _best_below(false_a_slide, sensitivity, limit) for limit in FROC_AT}
    return Froc(false_a_slide, sensitivity, at, total, len(slides))


def _best_below(
    false_a_slide: NDArray[np.float64], sensitivity: NDArray[np.float64], limit: float
) -> float:
    """The sensitivity of the lowest score that has no more false regions."""
    allowed = sensitivity[false_a_slide <= limit]
    return float(allowed.max()) if len(allowed) else 0.0


def _candidates(
    truth: Cells, prob: Cells, threshold: float
) -> tuple[list[float], list[float], int]:
    """Scores of the first find of each true region that is found, scores of false ones, and how
    many true regions there are."""
    from scipy import ndimage

    lesions, count = ndimage.label(np.nan_to_num(truth) >= 0.5, DIAGONAL)
    values = np.nan_to_num(prob)
    regions, number = ndimage.label(values >= threshold, DIAGONAL)
    best: dict[int, float] = {}
    false: list[float] = []
    for place in ndimage.maximum_position(values, regions, range(1, number + 1)):
        if not np.isfinite(truth[place]):
            continue
        score, lesion = float(values[place]), int(lesions[place])
        if lesion:
            best[lesion] = max(score, best.get(lesion, 0.0))
        else:
            false.append(score)
    return list(best.values()), false, int(count)
