"""8-bit integers: near the network, and alike in any batch. Needs OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.infer import Classifier, load_classifier
from models.network import TorchClassifier, load_network
from models.registry import resolve_model
from models.speed.quantised import RangeObserver, quantise
from models.speed.tuning import Tuning, keep_tuning
from tests.models.classifier_contract import ClassifierContract
from tests.models.small_models import make_rgb

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def int8(model: Path) -> Tuning:
    card, weights = resolve_model(model)
    assert weights is not None
    observer = RangeObserver(load_network(card, weights), card.input_px)
    plain = Tuning("plain", "float32", 8)
    TorchClassifier(card, observer, "cpu", tuning=plain, lanes=1).predict(make_rgb(32))
    return Tuning("int8", "float32", 4, ranges=observer.ranges)


class TestQuantisedNetwork(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, model: Path, int8: Tuning) -> Classifier:
        return load_classifier(model, "cpu", tuning=int8)


def test_the_first_range_is_that_of_the_normalised_pixels(int8: Tuning) -> None:
    # black is (0 - 0.8) / 0.1 = -8, white in green (1 - 0.6) / 0.2 = 2
    assert int8.ranges[0] == pytest.approx((-8.0, 2.0), abs=0.2)
    assert all(low >= 0 for low, _ in int8.ranges[1:])  # behind a ReLU


def test_answers_are_near_those_of_float32_but_not_the_same(model: Path, int8: Tuning) -> None:
    rgb = make_rgb(16, seed=3)

    apart = load_classifier(model, "cpu", tuning=int8).predict(rgb) - load_classifier(
        model, "cpu", precision="float32", tuning=Tuning("plain", "float32", 8)
    ).predict(rgb)

    assert 0 < np.abs(apart).max() < 0.1


def test_the_record_of_a_run_says_int8(model: Path, int8: Tuning) -> None:
    assert load_classifier(model, "cpu", tuning=int8).device.startswith("cpu, int8")


def test_ranges_of_another_network_are_refused(model: Path) -> None:
    card, weights = resolve_model(model)
    assert weights is not None

    with pytest.raises(ModelError, match="1 tensors"):
        quantise(load_network(card, weights), card.input_px, ((0.0, 1.0),))


def test_ranges_need_tiles(model: Path) -> None:
    card, weights = resolve_model(model)
    assert weights is not None

    with pytest.raises(ModelError, match="needs tiles"):
        _ = RangeObserver(load_network(card, weights), card.input_px).ranges


def test_a_layer_that_never_answers_leaves_no_number_that_is_none() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten())

    answer = quantise(network, 8, ((0.0, 0.0),))(torch.zeros(8, 3, 8, 8))

    assert torch.isfinite(answer).all()


def test_8_bits_are_computed_where_they_are_asked_for_and_nowhere_else(
    model: Path, int8: Tuning, tmp_path: Path
) -> None:
    keep_tuning(tmp_path, resolve_model(model).card, "cpu", int8)

    asked = load_classifier(model, "cpu", precision="int8", tuning=tmp_path)
    not_asked = load_classifier(model, "cpu", tuning=tmp_path)

    assert asked.device.startswith("cpu, int8")
    assert "int8" not in not_asked.device
