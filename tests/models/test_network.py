"""A network on a device: the numbers that it answers with, and what it does where memory ends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from models.card import read_card
from models.errors import DeviceError, ModelError, WeightsError
from models.infer import Classifier, load_classifier
from models.network import TorchClassifier, choose_device, load_network
from models.speed.tuning import Tuning
from tests.models.classifier_contract import SAME, ClassifierContract
from tests.models.small_models import ChannelNetwork, make_card, make_network, make_rgb, write_model

# float16 on disk: what a probability of these random networks may differ from float32's
ON_DISK = 5e-3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


class TestNetwork(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, model: Path) -> Classifier:
        return load_classifier(model, "cpu", batch_size=4)


class TestNetworkThatResizes(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
        return load_classifier(
            write_model(tmp_path_factory.mktemp("resizing"), make_card(input_px=48)),
            "cpu",
            batch_size=3,
        )


class TestNetworkWithOneLogit(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
        card = make_card(classes=("idc",), activation="sigmoid")
        return load_classifier(
            write_model(tmp_path_factory.mktemp("sigmoid"), card), "cpu", batch_size=4
        )


class TestNetworkInBfloat16(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, model: Path) -> Classifier:
        return load_classifier(model, "cpu", batch_size=20, precision="bfloat16")


class TestFilteredNetwork(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, model: Path) -> Classifier:
        filtered = Tuning("filtered", "float32", batch_size=12)
        classifier = load_classifier(model, "cpu", batch_size=12, tuning=filtered)
        assert "filtered" in classifier.device
        return classifier


@pytest.mark.gpu
class TestNetworkOnCuda(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls, model: Path) -> Classifier:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        return load_classifier(model, "cuda", batch_size=4, precision="float32")


def plain_scores(card_path: Path, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The definition, step by step: no folding, no channels-last, one tile at a time."""
    card = read_card(card_path)
    network = make_network(len(card.classes), architecture=card.architecture)
    mean, std = np.array(card.mean), np.array(card.std)
    answers = []
    with torch.no_grad():
        for tile in rgb:
            pixels = torch.from_numpy(((tile / 255 - mean) / std).astype(np.float32))
            logits = network(pixels.permute(2, 0, 1)[None]) / card.temperature
            answers.append(torch.softmax(logits, 1)[0].numpy())
    return np.array(answers)


def test_scores_are_those_of_the_plain_network(tmp_path: Path):
    card_path = write_model(tmp_path, make_card(temperature=1.7))
    rgb = make_rgb(6)

    prob = load_classifier(card_path, "cpu", batch_size=4).predict(rgb)

    np.testing.assert_allclose(prob, plain_scores(card_path, rgb), rtol=0, atol=ON_DISK)


def test_folded_batch_norms_change_no_score(model: Path):
    card = read_card(model)
    folded = load_network(card, model.with_suffix(".safetensors"))
    plain = make_network()
    plain.load_state_dict({k: v.half().to(v.dtype) for k, v in plain.state_dict().items()})
    rgb = make_rgb(8)

    one, two = (
        TorchClassifier(card, net, "cpu", precision="float32").predict(rgb)
        for net in (folded, plain)
    )

    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


def test_scores_do_not_depend_on_the_batch_size(model: Path):
    rgb = make_rgb(20)
    reference = load_classifier(model, "cpu", batch_size=8, precision="float32").predict(rgb)

    for batch_size in (1, 3, 16, 64):
        classifier = load_classifier(model, "cpu", batch_size=batch_size, precision="float32")
        np.testing.assert_allclose(classifier.predict(rgb), reference, rtol=0, atol=SAME)


@pytest.mark.parametrize(
    ("tile_px", "asked", "taken"), [(256, 128, 8), (256, None, 8), (256, 3, 3), (32, 128, 128)]
)
def test_a_cpu_takes_no_more_pixels_at_once_than_its_caches_hold(
    tile_px: int, asked: int | None, taken: int
):
    card = make_card(tile_px=tile_px, input_px=tile_px)

    one, two = (
        TorchClassifier(card, ChannelNetwork(), "cpu", batch_size=asked, lanes=lanes)
        for lanes in (1, 2)
    )

    assert (one.batch_size, two.batch_size) == (taken, 2 * taken)


def test_temperature_divides_the_logits():
    bright = np.full((1, 32, 32, 3), 255, np.uint8)  # ChannelNetwork's logit: (1 - 0) / 0.25 = 4
    card = make_card(mean=(0.0, 0.0, 0.0), std=(0.25, 0.25, 0.25), temperature=2.0)

    prob = TorchClassifier(card, ChannelNetwork(), "cpu").predict(bright)

    assert prob[0, 1] == pytest.approx(1 / (1 + np.exp(-4 / 2)), abs=1e-6)


def test_pixels_are_normalised_by_the_mean_and_deviation_of_their_own_channel():
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 102  # 0.4; (0.4 - 0.8) / 0.1 = -4
    card = make_card(mean=(0.8, 0.1, 0.2), std=(0.1, 0.5, 0.6))

    prob = TorchClassifier(card, ChannelNetwork(), "cpu").predict(red)

    assert prob[0, 1] == pytest.approx(1 / (1 + np.exp(4)), abs=1e-6)


class KeepInput(nn.Module):
    """Logits of the right shape; keeps the pixels that it was given."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.pixels = pixels
        return pixels[:, :2, 0, 0]


@pytest.mark.parametrize("input_px", [20, 48])
def test_resizing_differs_from_pillow_by_less_than_its_rounding(input_px: int):
    network = KeepInput()
    card = make_card(input_px=input_px, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    rgb = make_rgb(1)

    TorchClassifier(card, network, "cpu", batch_size=1, precision="float32").predict(rgb)

    resized = Image.fromarray(rgb[0]).resize((input_px, input_px), Image.Resampling.BILINEAR)
    given = network.pixels[0].permute(1, 2, 0).numpy() * 255
    # Pillow rounds to whole grey levels twice, once a direction
    assert np.abs(given - np.asarray(resized)).max() <= 1.01


class SmallMemory(ChannelNetwork):
    """Runs out of memory above `most` tiles."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(pixels)


def test_out_of_memory_halves_the_batch_and_scores_all_the_same():
    rgb = make_rgb(50)
    classifier = TorchClassifier(make_card(), SmallMemory(5), "cpu", batch_size=32, lanes=2)

    prob = classifier.predict(rgb)

    assert classifier.batch_size == 2 * 4
    expected = TorchClassifier(make_card(), ChannelNetwork(), "cpu").predict(rgb)
    np.testing.assert_allclose(prob, expected, rtol=0, atol=SAME)


def test_a_device_too_small_for_one_tile_is_a_clear_error():
    classifier = TorchClassifier(make_card(), SmallMemory(0), "cpu", batch_size=8)

    with pytest.raises(DeviceError, match="not enough memory for one tile"):
        classifier.predict(make_rgb(1))


def test_scores_that_are_no_numbers_are_refused():
    network = ChannelNetwork()
    network.weight.data.fill_(float("nan"))

    with pytest.raises(ModelError, match="not finite"):
        TorchClassifier(make_card(), network, "cpu").predict(make_rgb(1))


def test_a_network_with_other_outputs_than_its_card_is_refused():
    card = make_card(classes=("a", "b", "idc"))

    with pytest.raises(WeightsError, match=r"shape \(4, 2\).*3 classes"):
        TorchClassifier(card, ChannelNetwork(), "cpu", batch_size=4).predict(make_rgb(1))


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "cpu:7"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(device: str):
    with pytest.raises(DeviceError, match=r"cpu"):
        choose_device(device)


def test_auto_finds_a_device_that_works(model: Path):
    assert load_classifier(model, "auto").predict(make_rgb(1)).shape == (1, 2)


def test_an_unknown_precision_is_refused(model: Path):
    with pytest.raises(DeviceError, match="float8"):
        load_classifier(model, precision="float8")


def test_a_batch_of_no_tiles_is_refused(model: Path):
    with pytest.raises(ModelError, match="batch size 0"):
        load_classifier(model, batch_size=0)
