"""Figures of two or more exclusive classes, by class and as their mean; scikit-learn's values.

label: int64 (n,), index into the classes. prob: float (n, classes), rows sum to one. predicted:
int64 (n,), the class that is answered: of two classes by the card's threshold, else the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.metrics import Interval, expected_calibration_error, rank_figures

__all__ = [
    "FIGURES",
    "ClassFigures",
    "bootstrap",
    "by_class",
    "confusion_of",
    "measure_classes",
    "predict",
]

Labels = NDArray[np.int64]
Probs = NDArray[np.floating]
Patients = NDArray[np.str_]

FIGURES = ("precision", "recall", "f1", "auc", "average_precision")
"""Of a class."""

DRAWS_WITHOUT_A_CLASS = 1000
"""So often a resample may lack a class before the bootstrap gives up."""


@dataclass(frozen=True)
class ClassFigures:
    """One class against all others. auc, average_precision: by its probability."""

    name: str
    support: int  # pictures that are truly of it
    precision: float  # 0 where it is never predicted
    recall: float
    f1: float
    auc: float
    average_precision: float


def predict(prob: Probs, positive: int | None = None, threshold: float = 0.5) -> Labels:
    """The class of each row: the largest, or with `positive`, of two, that at its threshold."""
    if positive is None or prob.shape[1] != 2:
        return np.asarray(prob.argmax(1), np.int64)
    return np.where(prob[:, positive] >= threshold, positive, 1 - positive).astype(np.int64)


def confusion_of(label: Labels, predicted: Labels, count: int) -> NDArray[np.int64]:
    """(count, count): rows are the truth, columns the prediction."""
    return np.bincount(count * label + predicted, minlength=count * count).reshape(count, count)


def by_class(
    label: Labels, prob: Probs, predicted: Labels, names: Sequence[str]
) -> list[ClassFigures]:
    """Raises DatasetError where a class has no picture, or all."""
    _require_all(label, names)
    counts = confusion_of(label, predicted, len(names))
    found = []
    for i, name in enumerate(names):
        right, support, answered = (
            int(n) for n in (counts[i, i], counts[i].sum(), counts[:, i].sum())
        )
        auc, average_precision = rank_figures(label == i, prob[:, i])
        found.append(
            ClassFigures(
                name=name,
                support=support,
                precision=right / answered if answered else 0.0,
                recall=right / support,
                f1=2 * right / (support + answered),
                auc=auc,
                average_precision=average_precision,
            )
        )
    return found


def measure_classes(
    label: Labels,
    prob: Probs,
    predicted: Labels,
    figures: Sequence[ClassFigures] | None = None,
) -> dict[str, float]:
    """By name: accuracy, balanced_accuracy, macro_precision, macro_recall, macro_f1, macro_auc (one
    against the rest), macro_average_precision, brier (half the squared distance to the truth, which
    for two classes is scikit-learn's), ece (of the probability of the predicted class).
    figures: those of by_class(), where they are there already.
    """
    count = prob.shape[1]
    figures = figures or by_class(label, prob, predicted, [str(i) for i in range(count)])
    right = predicted == label
    chosen = prob[np.arange(len(label)), predicted]
    apart = ((prob.astype(np.float64) - np.eye(count)[label]) ** 2).sum(1)
    return {
        "accuracy": float(right.mean()),
        **_means(figures),
        "brier": float(apart.mean() / 2),
        "ece": expected_calibration_error(right.astype(np.int64), chosen),
    }


def _means(figures: Sequence[ClassFigures]) -> dict[str, float]:
    """Means over the classes; that of the recalls is also the balanced accuracy."""
    means = {
        f"macro_{name}": float(np.mean([getattr(one, name) for one in figures])) for name in FIGURES
    }
    return {"balanced_accuracy": means["macro_recall"]} | means


def bootstrap(
    label: Labels,
    patient: Patients,
    measure: Callable[[NDArray[np.int64]], dict[str, float]],
    *,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of measure(indices) over resampled patients.

    A resample that lacks a class which the whole has is drawn again. Raises DatasetError where
    that happens too often: a class then hangs on too few patients.
    """
    value = measure(np.arange(len(label)))
    rng = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(patient == name) for name in np.unique(patient)]
    classes, lacking = np.unique(label), 0
    drawn: list[dict[str, float]] = []
    while len(drawn) < rounds:
        chosen = rng.integers(0, len(rows_of), len(rows_of))
        index = np.concatenate([rows_of[i] for i in chosen])
        if len(np.unique(label[index])) == len(classes):
            drawn.append(measure(index))
            continue
        lacking += 1
        if lacking > DRAWS_WITHOUT_A_CLASS and lacking > 10 * len(drawn):
            raise DatasetError(
                f"{len(rows_of)} patients: resamples of them nearly always lack a class; "
                "intervals need more patients of each class"
            )
    tails = (1 - level) / 2, (1 + level) / 2
    return {
        name: Interval(value[name], *np.quantile([one[name] for one in drawn], tails).tolist())
        for name in value
    }


def _require_all(label: Labels, names: Sequence[str]) -> None:
    missing = [name for i, name in enumerate(names) if not (label == i).any()]
    if missing:
        raise DatasetError(
            f"none of the {len(label)} pictures is of class {', '.join(missing)}; "
            "its figures need some"
        )
