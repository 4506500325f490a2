import pytest
import torch
from torch import nn

from models.errors import DatasetError
from models.registry import MODELS, build
from models.training.freezing import embedding_layers, freeze, head_name, set_training


def build_empty(architecture: str) -> nn.Module:
    """Without memory for its weights."""
    with torch.device("meta"):
        return build(architecture, 3)


def learning(network: nn.Module) -> list[str]:
    return [name for name, value in network.named_parameters() if value.requires_grad]


HEADS = {
    **dict.fromkeys(("resnet18", "resnet18-stem1", "resnet34", "resnet50", "resnet50v2"), "fc"),
    **dict.fromkeys(("vit_b_16", "vit_s_16"), "heads"),
}


@pytest.mark.parametrize("architecture", MODELS)
def test_a_frozen_backbone_leaves_the_head_to_learn(architecture: str):
    network = build_empty(architecture)

    freeze(network, "backbone")

    head = HEADS.get(architecture, "classifier")
    assert head_name(network) == head
    assert learning(network)
    assert all(name.startswith(f"{head}.") for name in learning(network))


@pytest.mark.parametrize(
    ("architecture", "plan", "convolutions"),
    [
        ("vgg16", "all-but-4-layers", [24, 26, 28]),
        ("vgg19", "all-but-4-layers", [30, 32, 34]),
        ("vgg16", "all-but-2-blocks", [17, 19, 21, 24, 26, 28]),
        ("vgg19", "all-but-2-blocks", [19, 21, 23, 25, 28, 30, 32, 34]),
    ],
)
def test_the_last_layers_of_vgg_learn(architecture: str, plan: str, convolutions: list[int]):
    """Numbers of layers as torchvision has them; a pooling is a layer, as in Keras."""
    network = build_empty(architecture)

    freeze(network, plan)

    features = [f"features.{i}.{kind}" for i in convolutions for kind in ("weight", "bias")]
    assert [name for name in learning(network) if name.startswith("features")] == features
    assert "classifier.0.weight" in learning(network)


def test_without_a_plan_everything_learns():
    network = build_empty("vgg16")

    freeze(network, "none")

    assert learning(network) == [name for name, _ in network.named_parameters()]


def test_a_plan_for_vgg_is_refused_elsewhere():
    with pytest.raises(DatasetError, match="freeze is 'all-but-2-blocks', which is for VGG"):
        freeze(build_empty("resnet18"), "all-but-2-blocks")


def test_frozen_batch_norms_count_no_statistics_and_others_do():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    network[0].requires_grad_(False)

    set_training(network)
    network(5 + torch.randn(8, 3, 2, 2))

    assert torch.equal(network[0].running_mean, torch.zeros(3))
    assert network[1].running_mean.abs().sum() > 0.1


def test_an_embedding_is_what_the_last_layer_saw():
    torch.manual_seed(0)
    network = build("breakhis-cnn", 3).eval()
    pixels = torch.randn(2, 3, 32, 32)
    logits, last = network(pixels), network.get_submodule("classifier")

    features = embedding_layers(network)(pixels)

    assert features.shape == (2, 256)
    torch.testing.assert_close(last(features), logits)
