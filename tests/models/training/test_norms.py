import pytest
import torch
from torch import nn

from models.registry import build
from models.training.filtering import filter_while_learning
from models.training.norms import fold_norms, lend_norms


def norms_of(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def train_once(network: nn.Module, pixels: torch.Tensor) -> None:
    """So that the norms have statistics and scales of their own."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()(pixels).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("filtered", [False, True])
def test_folded_norms_leave_the_network_and_its_answers(filtered: bool) -> None:
    torch.manual_seed(0)
    network, pixels = build("vgg16", 2), torch.randn(8, 3, 32, 32)
    names = list(network.state_dict())
    lend_norms(network)
    if filtered:
        filter_while_learning(network)
    assert len(norms_of(network)) == 13
    train_once(network, pixels)
    with torch.inference_mode():
        wanted = network.eval()(pixels)
    fold_norms(network)
    assert norms_of(network) == []
    assert list(network.state_dict()) == names
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels), wanted, rtol=1e-4, atol=1e-5)
    assert wanted.std() > 0


@pytest.mark.parametrize("architecture", ["resnet18", "vit_s_16", "convnext_pico"])
def test_a_network_with_norms_is_left_alone(architecture: str) -> None:
    network = build(architecture, 2)
    before = list(network.state_dict())
    lend_norms(network)
    assert list(network.state_dict()) == before
