import numpy as np
import pytest
from sklearn import metrics as referee

from models.errors import DatasetError
from models.metrics import (
    THRESHOLD_STEPS,
    Interval,
    calibrate,
    choose_threshold,
    confusion,
    expected_calibration_error,
    fit_temperature,
    measure,
    patient_bootstrap,
    resample_patients,
)


def make_scores(n: int = 400, patients: int = 20, seed: int = 0):
    """Calibrated scores: the label is drawn with the score's own probability."""
    rng = np.random.default_rng(seed)
    prob = rng.random(n)
    label = (rng.random(n) < prob).astype(np.int64)
    return label, prob, (np.arange(n) % patients).astype(str)


def test_measure_agrees_with_a_count_by_hand():
    label = np.array([0, 0, 0, 0, 1, 1])
    prob = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.8])
    found = measure(label, prob, 0.4)
    assert found["auc"] == pytest.approx(6 / 8)  # of 8 pairs the tile at 0.9 loses two
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["recall"] == 1
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((1 + 3 / 4) / 2)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.09 + 0.81 + 0.36 + 0.04) / 6)


def test_every_value_is_that_of_scikit_learn():
    label, prob, _ = make_scores(500)
    found = measure(label, prob, 0.3)
    for name in ("balanced_accuracy", "f1", "accuracy", "precision", "recall"):
        assert found[name] == pytest.approx(getattr(referee, f"{name}_score")(label, prob >= 0.3))
    assert found["auc"] == pytest.approx(referee.roc_auc_score(label, prob))
    assert found["average_precision"] == pytest.approx(referee.average_precision_score(label, prob))
    assert found["brier"] == pytest.approx(referee.brier_score_loss(label, prob))


def test_nothing_predicted_positive_has_no_precision():
    found = measure(np.array([0, 1]), np.array([0.1, 0.2]), 0.9)
    assert (found["precision"], found["recall"], found["f1"]) == (0, 0, 0)


def test_a_score_at_the_threshold_is_positive():
    label, prob = np.array([0, 1]), np.array([0.3, 0.5])
    assert confusion(label, prob, 0.5).tolist() == [[1, 0], [0, 1]]


def test_confusion_has_truth_in_rows():
    label = np.array([0, 0, 0, 1, 1])
    prob = np.array([0.9, 0.1, 0.1, 0.1, 0.9])
    assert confusion(label, prob, 0.5).tolist() == [[2, 1], [1, 1]]


def test_calibration_error_of_constant_scores_is_their_distance_from_the_frequency():
    label = np.array([1, 0, 0, 0] * 10)
    assert expected_calibration_error(label, np.full(40, 0.65), bins=1) == pytest.approx(0.4)


def test_calibration_error_sees_bins_that_cancel_out():
    label = np.repeat([0, 1], 50)
    prob = np.repeat([0.2, 0.8], 50)
    assert expected_calibration_error(label, prob, bins=1) == pytest.approx(0)
    assert expected_calibration_error(label, prob, bins=2) == pytest.approx(0.2)


def test_temperature_undoes_a_factor_on_the_logits():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-true))).astype(np.int64)
    logit = np.stack([np.zeros_like(true), 3 * true], 1)
    assert fit_temperature(logit, label) == pytest.approx(3, rel=0.05)


def test_calibration_keeps_the_order_and_sums_to_one():
    logit = np.array([[0.0, 4.0], [0.0, 1.0], [0.0, -2.0]])
    prob = calibrate(logit, 2.0)
    np.testing.assert_allclose(prob.sum(axis=1), 1)
    np.testing.assert_allclose(prob[:, 1], 1 / (1 + np.exp([-2, -0.5, 1])))


def test_the_threshold_is_where_brute_force_finds_the_best_sum():
    label, prob, _ = make_scores(600)
    lonely = np.arange(600).astype(str)
    index = next(resample_patients(label, lonely, 1, seed=3))
    chosen = choose_threshold(label, prob, lonely, rounds=1, seed=3)
    sums = [
        referee.balanced_accuracy_score(label[index], prob[index] >= t)
        + referee.f1_score(label[index], prob[index] >= t)
        for t in THRESHOLD_STEPS
    ]
    assert sums[int(np.argmin(abs(THRESHOLD_STEPS - chosen)))] == pytest.approx(max(sums))


def test_a_resample_takes_whole_patients():
    label, _, patient = make_scores(40, patients=8)
    for index in resample_patients(label, patient, 20, seed=1):
        assert len(index) == 40
        drawn, counts = np.unique(patient[index], return_counts=True)
        assert len(drawn) < 8 or (counts == 5).all()
        assert (counts % 5 == 0).all()


def test_the_interval_holds_the_value_and_widens_when_patients_are_few():
    label, prob, patient = make_scores(400, patients=40)
    many = patient_bootstrap(label, prob, patient, 0.5, rounds=60)["auc"]
    assert many.value == pytest.approx(referee.roc_auc_score(label, prob))
    assert many.low < many.value < many.high
    by_label = np.where(label == 1, "a", patient)  # one patient holds every positive
    few = patient_bootstrap(label, prob, by_label, 0.5, rounds=60)["average_precision"]
    tiles = patient_bootstrap(label, prob, np.arange(400).astype(str), 0.5, rounds=60)
    wide = tiles["average_precision"]
    assert few.high - few.low > wide.high - wide.low


def test_the_interval_has_the_spread_that_theory_gives():
    rng = np.random.default_rng(2)
    label = np.tile([0, 1], 500)
    prob = np.where(rng.random(1000) < 0.8, label, 1 - label).astype(float)
    found = patient_bootstrap(label, prob, np.arange(1000).astype(str), 0.5, rounds=200)["accuracy"]
    spread = 1.96 * np.sqrt(found.value * (1 - found.value) / 1000)
    assert found.high - found.value == pytest.approx(spread, rel=0.2)
    assert found.value - found.low == pytest.approx(spread, rel=0.2)
    assert isinstance(found, Interval)


def test_the_same_seed_gives_the_same_interval():
    label, prob, patient = make_scores()
    first = patient_bootstrap(label, prob, patient, 0.5, rounds=20, seed=5)
    assert first == patient_bootstrap(label, prob, patient, 0.5, rounds=20, seed=5)
    assert first != patient_bootstrap(label, prob, patient, 0.5, rounds=20, seed=6)


def test_tiles_of_one_class_have_no_metrics():
    with pytest.raises(DatasetError, match="all 3 tiles are of one class"):
        measure(np.ones(3, np.int64), np.full(3, 0.5), 0.5)
