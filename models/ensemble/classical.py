"""Random forest, gradient boosting and SVM on the features of networks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.ensemble.config import EnsembleConfig
from models.errors import DatasetError

__all__ = ["fit_classical"]

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

FOLDS = 5
COMPONENTS = 256
"""To so many the SVM's features are reduced: its work a tile is support vectors x features, and
with all 4,352 of three networks it would take longer than these on a GPU."""


def fit_classical(
    kind: str,
    features: Float32Array,
    label: Int64Array,
    group: npt.NDArray[np.str_],
    config: EnsembleConfig,
    seed: int,
) -> Any:
    """One of members.CLASSICAL as a fitted estimator; equal input makes an equal one.

    features: (n, width). group: (n,), what folds keep together: patients, or pictures where
    patients are not known. Raises DatasetError where a class is in fewer than two tiles.
    """
    made: Any = _FITTED[kind](_Lesson(features, label, group, config, seed))
    return made


class _Lesson(NamedTuple):
    """What fit_classical() is given."""

    features: Float32Array
    label: Int64Array
    group: npt.NDArray[np.str_]
    config: EnsembleConfig
    seed: int


def _fit_forest(lesson: _Lesson) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        lesson.config.trees,
        min_samples_leaf=2,
        class_weight="balanced",
        random_state=lesson.seed,
    )
    return forest.fit(lesson.features, lesson.label)


def _fit_boosting(lesson: _Lesson) -> Any:
    """Each split looks at the root of all features: with thousands of them the others are as good,
    and it takes a sixtieth of the time."""
    from sklearn.ensemble import GradientBoostingClassifier

    boosting = GradientBoostingClassifier(
        n_estimators=lesson.config.rounds,
        max_features="sqrt",
        subsample=0.5,
        random_state=lesson.seed,
    )
    return boosting.fit(lesson.features, lesson.label)


def _fit_svm(lesson: _Lesson) -> Any:
    """Probabilities by Platt's sigmoid of decisions on tiles of other patients than those that
    made them; the SVM that stays has seen all."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    folds = _folds(lesson.label, lesson.group, lesson.seed)
    fewest = min(len(rows) for rows, _ in folds)
    components = min(COMPONENTS, lesson.features.shape[1], fewest)
    svm = make_pipeline(
        StandardScaler(),
        PCA(components, random_state=lesson.seed),
        SVC(class_weight="balanced", random_state=lesson.seed),
    )
    calibrated = CalibratedClassifierCV(svm, cv=folds, ensemble=False)
    calibrated.fit(lesson.features, lesson.label)
    return calibrated.set_params(cv=None)  # a list of rows, which nobody needs any more


_FITTED = {
    "random-forest": _fit_forest,
    "gradient-boosting": _fit_boosting,
    "svm": _fit_svm,
}


def _folds(
    label: Int64Array, group: npt.NDArray[np.str_], seed: int
) -> list[tuple[Int64Array, Int64Array]]:
    """Rows to fit on and rows to decide on. Groups stay together where each class has two."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = [len(np.unique(group[label == one])) for one in np.unique(label)]
    if min(counts) >= 2:
        count = min(FOLDS, *counts)
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        folds = list(grouped.split(label, label, group))
        if all(_has_all(label, fold) for fold in folds):
            return folds
    fewest = int(np.bincount(label).min())
    if fewest < 2:
        raise DatasetError(
            f"a class has {fewest} training tile; an SVM's probabilities need two of each"
        )
    single = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    return list(single.split(label, label))


def _has_all(label: Int64Array, fold: tuple[Int64Array, Int64Array]) -> bool:
    return len(np.unique(label[fold[0]])) == len(np.unique(label))
