"""What a network looked at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.explain import attend, explain_tile, load_layers, occlude
from models.infer import load_classifier
from models.network import TorchClassifier
from models.registry import build
from tests.models.small_models import make_card, make_network, make_rgb, write_model

SIDE = 32


class RedNetwork(nn.Module):
    """Red less green of each pixel, averaged, is the logit of class 1."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, 1, 1, bias=False)
        self.colour.weight.data = torch.tensor([weight, -weight, 0.0]).view(1, 3, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        red = self.colour(pixels).mean((1, 2, 3))
        return torch.stack([torch.zeros_like(red), red], 1)


def make_tile() -> np.ndarray:
    """Grey, with a red square of 8 px at row 20, column 4."""
    rgb = np.full((SIDE, SIDE, 3), 128, np.uint8)
    rgb[20:28, 4:12] = (255, 0, 0)
    return rgb


def plain_card(**changed: object):
    return make_card(mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1), **changed)


def test_grad_cam_of_one_linear_map_is_that_map():
    """The map's gradient is the same everywhere, so Grad-CAM is its positive part: 1 on red."""
    seen, side = attend(RedNetwork(), plain_card(), make_tile(), 1)
    expected = np.zeros((SIDE, SIDE), np.float32)
    expected[20:28, 4:12] = 1
    assert side == SIDE
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_nothing_is_shown_where_nothing_speaks_for_the_class():
    seen, _ = attend(RedNetwork(-1.0), plain_card(), make_tile(), 1)
    assert (seen == 0).all()


def test_the_probability_falls_where_what_it_stands_on_is_covered():
    classifier = TorchClassifier(plain_card(), RedNetwork(), "cpu")
    fall, square = occlude(classifier, make_tile(), 1)
    row, column = np.unravel_index(fall.argmax(), fall.shape)
    assert square == 6
    assert 20 <= row < 28
    assert 4 <= column < 12
    assert fall[:10].max() == pytest.approx(0, abs=1e-6)


def test_occlusion_is_what_covering_each_square_by_hand_does():
    classifier = TorchClassifier(plain_card(), make_network(), "cpu")
    rgb = make_rgb(1)[0]
    fall, square = occlude(classifier, rgb, 1)
    covered = rgb.copy()
    covered[:square, :square] = 128  # 0.5 * 255, rounded
    whole, without = classifier.predict(np.stack([rgb, covered]))[:, 1]
    assert fall[0, 0] == pytest.approx(whole - without, abs=1e-6)  # only one square is over it


@pytest.mark.parametrize(
    ("architecture", "px", "side"), [("resnet18", 64, 4), ("resnet18", 224, 7)]
)
def test_the_last_map_that_shows_something_is_taken(architecture: str, px: int, side: int):
    card = plain_card(tile_px=px, input_px=px)
    network = make_network(architecture=architecture)
    seen, taken = attend(network, card, make_rgb(1, px)[0], 1)
    assert (taken, seen.shape) == (side, (px, px))
    assert seen.max() == pytest.approx(1)


def test_tokens_of_a_transformer_are_a_map():
    torch.manual_seed(0)
    network = build("vit_s_16", 2).eval()
    for parameter in network.parameters():
        parameter.data.add_(
            torch.randn_like(parameter) * 0.02
        )  # a head of zeros depends on nothing
    card = plain_card(architecture="vit_s_16", tile_px=224, input_px=224)
    seen, side = attend(network, card, make_rgb(1, 224)[0], 1)
    assert (side, seen.shape) == (14, (224, 224))
    assert seen.max() == pytest.approx(1)


def test_hooks_do_not_stay():
    network = RedNetwork()
    attend(network, plain_card(), make_tile(), 1)
    assert all(not layer._forward_hooks for layer in network.modules())


def test_a_stored_model_explains_its_own_probability(tmp_path: Path):
    card = write_model(tmp_path, plain_card())
    classifier = load_classifier(card, "cpu")
    rgb = make_rgb(1)[0]
    found = explain_tile(classifier, load_layers(card), rgb)
    assert found.target == "idc"
    np.testing.assert_array_equal(found.prob, classifier.predict(rgb[None])[0])
    assert found.gradient is not None


def test_a_model_without_layers_is_explained_by_occlusion_alone():
    classifier = TorchClassifier(plain_card(), RedNetwork(), "cpu")
    found = explain_tile(classifier, None, make_tile(), "non_idc")
    assert found.gradient is None
    assert found.occlusion.min() < -0.001  # covering red speaks for the other class


def test_a_class_that_the_model_does_not_know_is_refused():
    classifier = TorchClassifier(plain_card(), RedNetwork(), "cpu")
    with pytest.raises(ModelError, match="class 'benign': small has non_idc, idc"):
        explain_tile(classifier, None, make_tile(), "benign")
