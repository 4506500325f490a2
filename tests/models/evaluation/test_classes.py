"""Figures of several classes: scikit-learn's, counted by hand, and their intervals."""

import numpy as np
import pytest
from sklearn import metrics

from models.errors import DatasetError
from models.evaluation.classes import (
    bootstrap,
    by_class,
    confusion_of,
    measure_classes,
    predict,
)
from models.metrics import measure, rank_figures

NAMES = ("normal", "benign", "in situ", "invasive")


def make_scores(n: int = 200, classes: int = 4, seed: int = 0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logit = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[label]
    prob = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    return label.astype(np.int64), prob


def test_of_two_classes_the_threshold_decides_and_of_more_the_largest():
    two = np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    assert predict(two, 1, 0.3).tolist() == [1, 1, 1]
    assert predict(two, 0, 0.6).tolist() == [0, 1, 1]
    assert predict(np.array([[0.2, 0.5, 0.3]]), 2, 0.1).tolist() == [1]


def test_rows_of_the_confusion_are_the_truth():
    counts = confusion_of(np.array([0, 0, 2]), np.array([0, 1, 2]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_means_over_classes_are_those_of_scikit_learn():
    label, prob = make_scores()
    predicted = predict(prob)
    found = measure_classes(label, prob, predicted)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(label, predicted, average="macro"))
    assert found["macro_auc"] == pytest.approx(
        metrics.roc_auc_score(label, prob, multi_class="ovr", average="macro")
    )
    assert found["macro_recall"] == pytest.approx(found["balanced_accuracy"])
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(label, predicted))


def test_of_two_classes_brier_and_auc_are_those_of_the_positive_class():
    label, prob = make_scores(classes=2)
    found = measure_classes(label, prob, predict(prob, 1, 0.5))
    two = measure(label, prob[:, 1], 0.5)
    assert found["brier"] == pytest.approx(two["brier"])
    assert found["macro_auc"] == pytest.approx(two["auc"])


def test_each_class_has_its_own_figures():
    """Of class 0 one of two is found, and nothing else is called so."""
    label = np.array([0, 0, 1, 1])
    prob = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    first, second = by_class(label, prob, predict(prob), ("a", "b"))
    assert (first.support, first.precision, first.recall) == (2, 1.0, 0.5)
    assert (second.support, second.recall) == (2, 1.0)
    assert second.precision == pytest.approx(2 / 3)
    assert first.auc == second.auc == 1.0


@pytest.mark.parametrize("digits", [1, 8])
def test_ranking_is_that_of_scikit_learn_also_with_ties(digits: int):
    label, prob = make_scores(classes=2, n=300)
    score = prob[:, 1].round(digits)
    expected = metrics.roc_auc_score(label, score), metrics.average_precision_score(label, score)
    assert rank_figures(label == 1, score) == pytest.approx(expected)


def test_figures_of_a_class_are_those_of_scikit_learn():
    label, prob = make_scores()
    predicted = predict(prob)
    expected = metrics.precision_recall_fscore_support(label, predicted)
    found = by_class(label, prob, predicted, NAMES)
    for i, name in enumerate(("precision", "recall", "f1", "support")):
        assert [getattr(one, name) for one in found] == pytest.approx(expected[i].tolist())


def test_a_class_without_a_picture_is_named():
    label, prob = make_scores()
    kept = label != 2
    with pytest.raises(DatasetError, match="class in situ"):
        by_class(label[kept], prob[kept], predict(prob[kept]), NAMES)


def test_intervals_are_wider_where_patients_are_fewer():
    label, prob = make_scores(400)

    def width(patients: int) -> float:
        patient = np.array([f"p{i % patients}" for i in range(400)])
        found = bootstrap(
            label, patient, lambda i: {"accuracy": float((predict(prob[i]) == label[i]).mean())},
            rounds=200,
        )["accuracy"]  # fmt: skip
        assert found.low <= found.value <= found.high
        return found.high - found.low

    whole = np.arange(400)
    assert width(400) > 0
    # all pictures of a patient right or all wrong: ten patients say as little as ten pictures
    order = np.argsort(predict(prob) == label, kind="stable")
    patient = np.empty(400, object)
    patient[order] = [f"p{i // 40}" for i in whole]
    of_ten = bootstrap(
        label, patient.astype(str),
        lambda i: {"accuracy": float((predict(prob[i]) == label[i]).mean())}, rounds=200,
    )["accuracy"]  # fmt: skip
    assert of_ten.high - of_ten.low > 2 * width(400)


def test_a_class_of_one_patient_in_many_ends_in_a_sentence():
    label = np.array([0] * 40 + [1])
    patient = np.array([f"p{i}" for i in range(41)])
    label[:] = np.arange(41) == 40
    classes = np.arange(41)  # every patient a class of its own: no resample has them all
    with pytest.raises(DatasetError, match="more patients of each class"):
        bootstrap(classes, patient, lambda i: {"n": float(len(i))}, rounds=10)
