"""How good and how well calibrated the scores of two classes are, with intervals by patient.

Labels are int (n,), 1 is the positive class; prob is the positive class's probability, float (n,).
The values are scikit-learn's where it has them (the tests compare), but counted here: a bootstrap
asks for them a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError

__all__ = [
    "Interval",
    "calibrate",
    "choose_threshold",
    "confusion",
    "expected_calibration_error",
    "fit_temperature",
    "measure",
    "patient_bootstrap",
    "rank_figures",
]

Labels = npt.NDArray[np.int64]
Probs = npt.NDArray[np.floating]
Patients = npt.NDArray[np.str_]

THRESHOLD_STEPS = np.linspace(0.02, 0.98, 193)


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


def measure(label: Labels, prob: Probs, threshold: float) -> dict[str, float]:
    """By name: auc, average_precision, balanced_accuracy, f1, accuracy, precision, recall, brier,
    ece. Raises DatasetError where a class has no tile.
    """
    _require_both_classes(label)
    auc, average_precision = rank_figures(label == 1, prob)
    return {
        "auc": auc,
        "average_precision": average_precision,
        **_counted(label, prob, threshold),
        "brier": float(((prob.astype(np.float64) - label) ** 2).mean()),
        "ece": expected_calibration_error(label, prob),
    }


def confusion(label: Labels, prob: Probs, threshold: float) -> npt.NDArray[np.int64]:
    """(2, 2) counts: rows are the truth, columns the prediction, negative class first."""
    return np.bincount(2 * label + (prob >= threshold), minlength=4).reshape(2, 2)


def patient_bootstrap(
    label: Labels,
    prob: Probs,
    patient: Patients,
    threshold: float,
    *,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals over resampled patients: tiles of one patient are not independent.

    A resample without both classes is drawn again. Raises DatasetError where a class has no tile.
    """
    value = measure(label, prob, threshold)
    draws = resample_patients(label, patient, rounds, seed)
    drawn = [measure(label[index], prob[index], threshold) for index in draws]
    tails = (1 - level) / 2, (1 + level) / 2
    return {
        name: Interval(value[name], *np.quantile([one[name] for one in drawn], tails).tolist())
        for name in value
    }


def resample_patients(
    label: Labels, patient: Patients, rounds: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of the tiles of as many patients as there are, drawn with replacement."""
    _require_both_classes(label)
    rng = np.random.default_rng(seed)
    tiles_of = [np.flatnonzero(patient == name) for name in np.unique(patient)]
    left = rounds
    while left:
        drawn = rng.integers(0, len(tiles_of), len(tiles_of))
        index = np.concatenate([tiles_of[i] for i in drawn])
        if 0 < label[index].sum() < len(index):
            left -= 1
            yield index


def rank_figures(
    is_true: npt.NDArray[np.bool_], prob: npt.NDArray[np.floating]
) -> tuple[float, float]:
    """AUC and average precision: scikit-learn's values, but a bootstrap asks for them thousands of
    times, and here they cost a tenth. Both True and False are needed."""
    order = np.argsort(-prob, kind="stable")
    ranked = prob[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of equal probabilities
    hits = np.cumsum(is_true[order])[last].astype(np.float64)
    misses = last + 1 - hits
    gained = np.diff(hits, prepend=0)
    auc = (np.diff(misses, prepend=0) * (hits - gained / 2)).sum() / (hits[-1] * misses[-1])
    return float(auc), float((gained * hits / (last + 1)).sum() / hits[-1])


def expected_calibration_error(label: Labels, prob: Probs, bins: int = 15) -> float:
    """Mean gap between probability and frequency of the positive class, over equally full bins.

    The adaptive form (Nixon et al. 2019, arXiv:1904.01685): bins of equal width would leave the
    upper ones nearly empty where one class is rare.
    """
    order = np.argsort(prob, kind="stable")
    gaps = [
        len(part) * abs(float(prob[part].mean()) - float(label[part].mean()))
        for part in np.array_split(order, min(bins, len(order)))
    ]
    return float(sum(gaps) / len(order))


def fit_temperature(logit: npt.NDArray[np.floating], label: Labels) -> float:
    """The T > 0 for which softmax(logit / T) has the least log loss (Guo et al. 2017, ICML).

    logit: float (n, classes).
    """
    from scipy.optimize import minimize_scalar

    def log_loss(log_t: float) -> float:
        prob = calibrate(logit, float(np.exp(log_t)))
        return -float(np.log(np.maximum(prob[np.arange(len(label)), label], 1e-12)).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-3, 3), method="bounded").x))


def calibrate(logit: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.float64]:
    """softmax(logit / temperature) over the last axis, float64."""
    from scipy.special import softmax

    return np.asarray(softmax(logit.astype(np.float64) / temperature, axis=-1))


def choose_threshold(
    label: Labels, prob: Probs, patient: Patients, *, rounds: int = 200, seed: int = 0
) -> float:
    """Where balanced accuracy + F1 is largest: the median of that place over resampled patients.

    The place itself jumps with a few tiles; the median does not. Rounded to the search's step.
    """
    best = [
        THRESHOLD_STEPS[np.argmax(_balanced_accuracy_and_f1(label[index], prob[index]))]
        for index in resample_patients(label, patient, rounds, seed)
    ]
    return round(float(np.median(best)), 3)


def _balanced_accuracy_and_f1(label: Labels, prob: Probs) -> npt.NDArray[np.float64]:
    """Their sum at each of THRESHOLD_STEPS, counted from the sorted scores of each class."""
    positives, negatives = np.sort(prob[label == 1]), np.sort(prob[label == 0])
    true = len(positives) - np.searchsorted(positives, THRESHOLD_STEPS)
    false = len(negatives) - np.searchsorted(negatives, THRESHOLD_STEPS)
    recall, fallout = true / len(positives), false / len(negatives)
    return (recall + 1 - fallout) / 2 + 2 * true / (true + false + len(positives))


def _require_both_classes(label: Labels) -> None:
    if not 0 < label.sum() < len(label):
        raise DatasetError(
            f"all {len(label)} tiles are of one class; the metrics need tiles of both"
        )


def _counted(label: Labels, prob: Probs, threshold: float) -> dict[str, float]:
    """What follows from four counts: a hundred times faster than scikit-learn, whose values these
    are, and a bootstrap asks for it a thousand times. 0 where nothing is predicted positive.
    """
    (tn, fp), (fn, tp) = confusion(label, prob, threshold).tolist()
    recall = tp / (tp + fn)
    return {
        "balanced_accuracy": (recall + tn / (tn + fp)) / 2,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "accuracy": (tp + tn) / len(label),
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": recall,
    }
