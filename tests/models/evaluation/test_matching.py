"""Classes of a model and of a set belong together by their names."""

from dataclasses import replace

import numpy as np
import pytest

from models.card import ModelCard
from models.errors import DatasetError
from models.evaluation.matching import match_classes
from models.painted import painted_card

BACH = ("Normal", "Benign", "InSitu", "Invasive")


def make_card(*classes: str, positive: str) -> ModelCard:
    return replace(painted_card(), classes=classes, positive_class=positive)


def test_names_are_compared_without_signs_and_capitals_in_any_order():
    card = make_card("invasive", "in_situ", "benign", "normal", positive="invasive")
    matching = match_classes(card, BACH)
    assert matching.names == ("normal", "benign", "in_situ", "invasive")
    assert matching.label(np.array([3, 0])).tolist() == [3, 0]
    answer = np.array([[0.4, 0.3, 0.2, 0.1]], np.float32)
    np.testing.assert_allclose(matching.prob(answer), [[0.1, 0.2, 0.3, 0.4]])
    assert matching.note is None


def test_the_two_folders_hold_idc():
    matching = match_classes(make_card("non_idc", "idc", positive="idc"), ("not_cancer", "cancer"))
    assert matching.note is None
    assert matching.label(np.array([0, 1])).tolist() == [0, 1]


def test_of_two_the_positive_class_comes_last():
    matching = match_classes(
        make_card("malignant", "benign", positive="benign"), ("benign", "malignant")
    )
    assert matching.names == ("malignant", "benign")
    assert matching.label(np.array([0, 1])).tolist() == [1, 0]
    answer = np.array([[0.9, 0.1]], np.float32)
    np.testing.assert_allclose(matching.prob(answer), [[0.9, 0.1]])


def test_other_names_of_two_classes_are_taken_as_they_come_and_it_is_said():
    matching = match_classes(make_card("rest", "tumour", positive="tumour"), ("non_idc", "idc"))
    assert matching.label(np.array([1])).tolist() == [1]
    assert "tumour of the model is taken for idc" in str(matching.note)


def test_a_positive_class_stands_against_all_others_together():
    card = make_card("stroma", "fat", "idc", positive="idc")
    matching = match_classes(card, ("non_idc", "idc"))
    assert matching.names == ("other", "idc")
    np.testing.assert_allclose(
        matching.prob(np.array([[0.5, 0.3, 0.2]], np.float32)), [[0.8, 0.2]], atol=1e-6
    )


@pytest.mark.parametrize(
    "card",
    [
        make_card("rest", "idc", positive="idc"),
        make_card("normal", "benign", "in_situ", "metastasis", positive="benign"),
    ],
)
def test_classes_that_do_not_fit_are_named(card: ModelCard):
    with pytest.raises(DatasetError, match=r"knows the classes .* the set has Normal, Benign"):
        match_classes(card, BACH)


def test_a_model_of_several_without_a_class_of_the_set_is_refused():
    card = make_card("normal", "in_situ", "invasive", positive="invasive")
    with pytest.raises(DatasetError, match="the set has benign, malignant"):
        match_classes(card, ("benign", "malignant"))
