"""Float32 by OpenVINO: the answers of the network. Needs OpenVINO."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import DeviceError
from models.infer import Classifier, load_classifier
from models.speed.trials import candidates
from models.speed.tuning import Tuning
from tests.models.classifier_contract import ClassifierContract
from tests.models.small_models import make_rgb

pytest.importorskip("openvino")

OPENVINO = Tuning("openvino", "float32", 4)


class TestOpenVinoNetwork(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, model: Path) -> Classifier:
        return load_classifier(model, "cpu", tuning=OPENVINO)


def test_answers_are_those_of_the_network_up_to_rounding(model: Path) -> None:
    rgb = make_rgb(18, seed=3)  # the last batch is half full
    plain = load_classifier(model, "cpu", tuning=Tuning("plain", "float32", 4))
    other = load_classifier(model, "cpu", tuning=OPENVINO)
    np.testing.assert_allclose(other.predict(rgb), plain.predict(rgb), atol=1e-5)
    assert other.device.startswith("cpu, float32, openvino")


def test_it_is_tried_where_it_is_installed(model: Path) -> None:
    assert ("openvino", "float32") in [
        (way.form, way.precision) for way in candidates(model, "cpu")
    ]


def test_half_precision_is_refused(model: Path) -> None:
    with pytest.raises(DeviceError, match="openvino is for float32"):
        load_classifier(model, "cpu", tuning=Tuning("openvino", "bfloat16", 4))
