import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.feature_extraction import create_feature_extractor

from models.card import file_sha256, write_card
from models.errors import CardError, ModelError, UnknownModel, WeightsError
from models.infer import load_classifier
from models.networks.resnet_v2 import PreActivationBottleneck
from models.painted import painted_card
from models.registry import CLASSIFIERS, MODELS, build, list_models, load_builder, resolve_model
from tests.models.small_models import make_card, make_network, make_rgb, write_model


@pytest.mark.parametrize("architecture", MODELS)
def test_each_architecture_builds_a_network_with_as_many_outputs_as_classes(architecture: str):
    with torch.device("meta"):  # no memory for its weights
        network = build(architecture, 3)

    assert list(network.parameters())[-1].shape == (3,)


@pytest.mark.parametrize(
    "architecture", ["resnet50v2", "vgg16", "convnext_pico", "resnet18-stem1", "breakhis-cnn"]
)
def test_a_network_of_this_project_s_own_serves_what_it_computed(architecture: str, tmp_path: Path):
    """Through float16 on disk and batch norms folded into convolutions."""
    classes = ("a", "b", "c")
    card = write_model(tmp_path, make_card(
        architecture=architecture, classes=classes, positive_class="c", input_px=50, tile_px=50
    ))  # fmt: skip
    rgb = make_rgb(2, 50)
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in ((0.8, 0.6, 0.7), (0.1, 0.2, 0.2)))
    network = make_network(3, architecture=architecture)
    with torch.inference_mode():
        expected = network.half().float()((pixels - mean) / std).softmax(1).numpy()

    found = load_classifier(card, "cpu", precision="float32").predict(rgb)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_stride_of_one_sees_every_pixel():
    """Twice the cells a side: 25 of a 50-px tile's 50 after the pooling, not 13."""
    pixels = torch.zeros(1, 3, 50, 50)
    sides = [
        create_feature_extractor(build(name, 2).eval(), ["layer1"])(pixels)["layer1"].shape[-1]
        for name in ("resnet18", "resnet18-stem1")
    ]

    assert sides == [13, 25]


def test_pre_activation_leaves_the_shortcut_as_it_is():
    """With its last convolution at zero a block of equal shape returns its input."""
    block = PreActivationBottleneck(256, 64, 1).eval()
    torch.nn.init.zeros_(block.conv3.weight)
    features = torch.randn(1, 256, 4, 4)

    torch.testing.assert_close(block(features.clone()), features)


@pytest.mark.parametrize(("architecture", "millions"), [("resnet50v2", 25.5), ("vit_s_16", 22.1)])
def test_a_network_has_as_many_parameters_as_its_paper_counts(architecture: str, millions: float):
    """ImageNet's thousand classes: ResNet-50 of He et al.; ViT-S of Touvron et al."""
    with torch.device("meta"):
        network = build(architecture, 1000)

    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_each_classifier_without_a_network_can_be_built(architecture: str):
    builder = load_builder(CLASSIFIERS[architecture])

    assert builder(painted_card()).card.architecture == architecture


def test_an_unknown_architecture_is_named_with_those_that_are_there():
    with pytest.raises(UnknownModel, match=r"'vgg11'.*resnet18"):
        build("vgg11", 2)


def test_a_shipped_model_has_a_card_of_its_own_name_and_its_pinned_weights():
    for card in list_models():
        files = resolve_model(card.name)

        assert files.card == card
        assert files.weights is not None
        assert file_sha256(files.weights) == card.weights_sha256


def test_a_card_finds_the_weights_that_it_names(tmp_path: Path):
    card_path = write_model(tmp_path)

    card, weights = resolve_model(card_path)

    assert card.name == "small"
    assert weights == tmp_path / "small.safetensors"


def test_weights_find_the_card_beside_them(tmp_path: Path):
    write_model(tmp_path)

    assert resolve_model(tmp_path / "small.safetensors") == resolve_model(tmp_path / "small.json")


@pytest.mark.parametrize("name", ["card.json", "config.json"])
def test_a_folder_is_a_model(name: str, tmp_path: Path):
    write_model(tmp_path).rename(tmp_path / name)

    assert resolve_model(tmp_path).weights == tmp_path / "small.safetensors"


def test_weights_that_no_card_names_are_found_and_pinned_as_they_are(tmp_path: Path):
    write_model(tmp_path)
    weights = (tmp_path / "small.safetensors").rename(tmp_path / "model.safetensors")
    write_card(make_card(), tmp_path / "config.json")

    card, found = resolve_model(tmp_path)

    assert found == weights
    assert card.weights_sha256 == file_sha256(weights)


def test_torchscript_is_taken_where_the_architecture_of_the_safetensors_is_unknown(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "torchscript_model.pt").write_bytes(b"2")
    write_card(make_card(architecture="inception_v4"), tmp_path / "config.json")
    assert resolve_model(tmp_path).weights == tmp_path / "torchscript_model.pt"

    write_card(make_card(architecture="resnet18"), tmp_path / "config.json")
    assert resolve_model(tmp_path).weights == tmp_path / "model.safetensors"


def test_a_model_without_a_network_needs_no_weights(tmp_path: Path):
    write_card(painted_card(), tmp_path / "painted.json")

    assert resolve_model(tmp_path / "painted.json").weights is None


def test_a_damaged_pickle_is_refused_with_the_command_that_imports_it(real_data: Path):
    pth = real_data / "malformed" / "truncated-weights.pth"

    with pytest.raises(ModelError, match="wsi models import") as raised:
        resolve_model(pth)

    assert str(pth) in str(raised.value)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.ckpt", "a.bin", "a.pkl"])
def test_a_pickle_is_refused_whatever_is_in_it(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"anything")

    with pytest.raises(WeightsError, match="wsi models import"):
        resolve_model(tmp_path / name)


def test_a_card_cannot_point_at_a_pickle(tmp_path: Path):
    (tmp_path / "a.pth").write_bytes(b"anything")
    write_card(make_card(weights_file="a.pth"), tmp_path / "card.json")

    with pytest.raises(WeightsError, match="wsi models import"):
        resolve_model(tmp_path)


def test_a_name_that_is_nothing_says_what_a_model_can_be(tmp_path: Path):
    with pytest.raises(UnknownModel, match=r"'no-such-model'.*card\.json"):
        resolve_model("no-such-model")


@pytest.mark.parametrize("name", ["../registry", "/etc/passwd", "", "..", "a\\b"])
def test_a_name_cannot_leave_the_folder_of_shipped_models(name: str):
    with pytest.raises(ModelError):
        resolve_model(name)


def test_weights_without_a_card_ask_for_one(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(b"1")

    with pytest.raises(CardError, match=r"a\.safetensors has no card"):
        resolve_model(tmp_path / "a.safetensors")


def test_a_card_without_its_weights_names_them(tmp_path: Path):
    card_path = write_model(tmp_path)
    (tmp_path / "small.safetensors").unlink()

    with pytest.raises(WeightsError, match=r"small\.safetensors"):
        resolve_model(card_path)


def test_a_picture_is_no_model(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"1")

    with pytest.raises(ModelError, match="is no model"):
        resolve_model(tmp_path / "a.png")


def test_finding_a_model_brings_no_torch():
    code = (
        "import sys, models, models.card, models.registry, models.errors, models.infer, "
        "models.painted; models.registry.list_models(); models.load_classifier; "
        "assert not {'torch', 'torchvision', 'sklearn', 'fastapi'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_folder_of_a_run_is_a_model_while_it_holds_one_card(tmp_path: Path):
    card = write_model(tmp_path / "renamed")
    assert resolve_model(tmp_path / "renamed") == resolve_model(card)

    write_card(make_card(), tmp_path / "renamed" / "other.json")

    with pytest.raises(CardError, match=r"renamed has no card; put card\.json"):
        resolve_model(tmp_path / "renamed")


def test_a_folder_without_a_card_is_told_what_a_models_folder_holds(tmp_path: Path):
    with pytest.raises(
        CardError, match=r"put card\.json or config\.json with it; a model's folder"
    ):
        resolve_model(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_a_deeply_nested_card_is_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "card.json").write_text(text)

    with pytest.raises(CardError, match=r"card\.json is not JSON"):
        resolve_model(tmp_path)
