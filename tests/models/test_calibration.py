"""Raw probabilities corrected by a temperature or by isotonic curves, without scikit-learn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.isotonic import IsotonicRegression

from models.calibration import Curve, calibrated
from models.card import ModelCard, read_card, write_card
from models.errors import CardError
from models.training.fitting import fit_calibration
from tests.models.small_models import make_card

HALF = Curve((0.0, 1.0), (0.0, 0.5))
FOUR = ("a", "b", "c", "idc")


def make_scores(n: int = 600, classes: int = 2, seed: int = 0) -> Any:
    """Labels drawn from the truth, and raw probabilities that are three times too sure."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=(n, classes))
    cumulated = softmax(logit, 1).cumsum(1)
    label = (rng.random((n, 1)) > cumulated).sum(1).clip(0, classes - 1)
    patient = np.array([f"p{i % 20}" for i in range(n)])
    return softmax(3 * logit, 1).astype(np.float32), label, patient


def test_an_uncalibrated_card_changes_no_bit():
    raw = make_scores()[0]
    np.testing.assert_array_equal(calibrated(make_card(), raw), raw)


@pytest.mark.parametrize("temperature", [0.5, 0.6339, 3.0])
def test_a_temperature_divides_the_logits(temperature: float):
    logit = np.random.default_rng(1).normal(0, 8, (200, 4)).astype(np.float32)
    card = make_card(classes=FOUR, temperature=temperature)
    found = calibrated(card, softmax(logit, 1))
    np.testing.assert_allclose(found, softmax(logit / temperature, 1), atol=2e-6)


def test_a_temperature_divides_the_logit_of_a_sigmoid():
    logit = np.array([[-12.0], [-1.0], [0.0], [2.0], [9.0]], np.float32)
    card = make_card(classes=("idc",), activation="sigmoid", temperature=2.0)
    np.testing.assert_allclose(calibrated(card, expit(logit)), expit(logit / 2), atol=1e-4)


def test_a_probability_of_nothing_stays_finite():
    raw = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    found = calibrated(make_card(temperature=4.0), raw)
    assert np.isfinite(found).all()
    assert (found.argmax(1) == [0, 1]).all()


@pytest.mark.parametrize(("positive", "expected"), [("idc", [0.8, 0.2]), ("non_idc", [0.3, 0.7])])
def test_the_curve_of_two_classes_is_that_of_the_positive_one(positive: str, expected: list[float]):
    raw = np.array([[0.6, 0.4]], np.float32)
    card = make_card(positive_class=positive, curves=(HALF,))
    np.testing.assert_allclose(calibrated(card, raw), [expected], atol=1e-7)


def test_curves_of_several_classes_are_divided_by_their_sum():
    card = make_card(classes=("a", "b", "idc"), curves=(HALF, HALF, Curve((0.0, 1.0), (0.0, 1.0))))
    found = calibrated(card, np.array([[0.4, 0.4, 0.2]], np.float32))  # 0.2, 0.2, 0.2
    np.testing.assert_allclose(found, [[1 / 3, 1 / 3, 1 / 3]], atol=1e-7)
    nothing = replace(card, curves=(Curve((0.5,), (0.0,)),) * 3)
    np.testing.assert_allclose(calibrated(nothing, found), [[1 / 3, 1 / 3, 1 / 3]], atol=1e-7)


def test_isotonic_is_what_scikit_learn_predicts():
    raw, label, patient = make_scores()
    card, _ = fit_calibration(make_card(), "isotonic", raw, label, patient)
    ends = {"y_min": 1 / 602, "y_max": 601 / 602}
    referee = IsotonicRegression(out_of_bounds="clip", **ends).fit(raw[:, 1], label)
    asked = np.linspace(0, 1, 999, dtype=np.float32)
    found = calibrated(card, np.stack([1 - asked, asked], 1))[:, 1]
    np.testing.assert_allclose(found, referee.predict(asked), atol=1e-5)
    assert (np.diff(found) >= 0).all()


def test_isotonic_of_several_classes_is_a_curve_each():
    raw, label, patient = make_scores(classes=4)
    card, _ = fit_calibration(make_card(classes=FOUR), "isotonic", raw, label, patient)
    each = [
        IsotonicRegression(y_min=1 / 602, y_max=601 / 602, out_of_bounds="clip")
        .fit(raw[:, i].astype(float), label == i)
        .predict(raw[:, i].astype(float))
        for i in range(4)
    ]
    expected = np.stack(each, 1) / np.sum(each, 0)[:, None]
    np.testing.assert_allclose(calibrated(card, raw), expected, atol=1e-5)


def test_auto_takes_the_method_with_the_least_loss_on_patients_that_were_left_out():
    raw, label, patient = make_scores()
    card, told = fit_calibration(make_card(), "auto", raw, label, patient)
    assert told["method"] == "temperature"
    assert card.temperature == pytest.approx(3, rel=0.1)
    losses = told["held_out_log_loss"]
    assert losses["temperature"] < losses["isotonic"] < losses["none"]


def test_auto_takes_isotonic_where_no_temperature_fits():
    raw, label, patient = make_scores(3000)
    squeezed = 0.4 + 0.2 * raw[:, 1] ** 4  # all of them far from 0 and 1, and shifted
    bent = np.stack([1 - squeezed, squeezed], 1)
    card, told = fit_calibration(make_card(), "auto", bent, label, patient)
    assert told["method"] == "isotonic"
    assert card.temperature == 1
    assert len(card.curves) == 1


def test_auto_works_with_one_patient():
    raw, label, _ = make_scores()
    _, told = fit_calibration(make_card(), "auto", raw, label, np.full(len(raw), "p"))
    assert told["method"] == "temperature"


def test_a_card_keeps_its_curves(tmp_path: Path):
    card = make_card(curves=(Curve((0.125, 0.5), (0.25, 0.75)),))
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == card


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((), (), "0 x and 0 y"),
        ((0.1, 0.2), (0.5,), "2 x and 1 y"),
        ((0.2, 0.1), (0.5, 0.6), "do not rise"),
        ((0.1, 0.2), (0.6, 0.5), "fall"),
        ((0.1, 1.2), (0.5, 0.6), r"leaves 0\.\.1"),
        ((0.1, float("nan")), (0.5, 0.6), "do not rise"),
    ],
)
def test_a_curve_that_is_none_is_refused(x: tuple[float, ...], y: tuple[float, ...], message: str):
    with pytest.raises(CardError, match=message):
        Curve(x, y)


@pytest.mark.parametrize(
    "changes",
    [
        {"curves": (HALF, HALF)},
        {"curves": (HALF,), "temperature": 2.0},
        {"curves": (HALF,), "classes": FOUR},
    ],
)
def test_curves_that_do_not_fit_the_card_are_refused(changes: dict[str, Any]):
    with pytest.raises(CardError, match="calibration curves"):
        make_card(**changes)


def test_a_class_may_not_have_the_name_of_a_channel():
    with pytest.raises(CardError, match="'raw', the name of a heatmap's channel"):
        make_card(classes=("raw", "idc"))


def test_a_card_of_before_there_were_curves_is_what_it_was():
    assert "calibration" not in ModelCard.from_json(make_card().to_json(), "small").to_json()
