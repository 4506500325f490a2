"""One model against another on the same pictures."""

import numpy as np
import pytest

from models.evaluation.comparing import compare_models

LABEL = np.tile([0, 1], 200)
PATIENT = np.array([f"p{i // 10}" for i in range(400)])


def right_in(share: float, seed: int):
    """A model that is right so often, by chance."""
    right = np.random.default_rng(seed).random(400) < share
    return lambda index: {"accuracy": float(right[index].mean())}


def test_a_model_that_is_much_better_is_clearly_better():
    models = {"base": right_in(0.6, 0), "better": right_in(0.9, 1)}
    (found,) = compare_models(models, LABEL, PATIENT, rounds=300)
    assert (found.model, found.against, found.figure) == ("better", "base", "accuracy")
    assert found.is_clear
    assert found.interval.value == pytest.approx(0.3, abs=0.07)
    assert found.favours == 1.0


def test_a_model_is_not_better_than_itself():
    same = right_in(0.8, 0)
    (found,) = compare_models({"a": same, "b": same}, LABEL, PATIENT, rounds=50)
    assert (found.interval.value, found.interval.low, found.interval.high) == (0, 0, 0)
    assert not found.is_clear
    assert found.favours == 0.0


def test_one_patient_makes_no_difference_clear():
    models = {"base": right_in(0.6, 0), "better": right_in(0.9, 1)}
    (found,) = compare_models(models, LABEL, np.repeat("p0", 400), rounds=20)
    assert found.interval.low == found.interval.high > 0.2
    assert not found.is_clear


def test_pairing_sees_what_separate_intervals_hide():
    """Patients differ much, the second model is right in one picture a patient more in each."""
    rng = np.random.default_rng(0)
    level = rng.integers(2, 8, 40)  # right pictures of ten, by patient
    first = np.concatenate([np.arange(10) < count for count in level])
    second = np.concatenate([np.arange(10) < count + 1 for count in level])
    models = {
        name: (lambda index, right=right: {"accuracy": float(right[index].mean())})
        for name, right in (("first", first), ("second", second))
    }
    (found,) = compare_models(models, LABEL, PATIENT, rounds=200)
    assert found.interval.low == pytest.approx(0.1)
    assert found.interval.high == pytest.approx(0.1)
