"""The plain convolution is the referee, in float64."""

import copy

import pytest
import torch
from torch import nn

from models.recipe import TrainConfig
from models.registry import build
from models.training.descent import Descent
from models.training.filtering import LEAST_TILES, LearningConv2d, filter_while_learning
from models.training.parallel import Processes


def make_conv(*, bias: bool = True, channels: int = 128) -> nn.Conv2d:
    torch.manual_seed(3)
    return nn.Conv2d(channels, channels, 3, padding=1, bias=bias)


def make_maps(side: int, tiles: int = LEAST_TILES, channels: int = 128) -> torch.Tensor:
    return torch.randn(tiles, channels, side, side, generator=torch.Generator().manual_seed(1))


def gradients(conv: nn.Module, maps: torch.Tensor) -> list[torch.Tensor]:
    """Of the mean square of the answer: by the maps and by each parameter."""
    given = maps.clone().requires_grad_()
    conv(given).square().mean().backward()
    return [given.grad, *(parameter.grad for parameter in conv.parameters())]


def relative_error(found: torch.Tensor, true: torch.Tensor) -> float:
    found, true = found.detach().double(), true.detach()
    return float((found - true).abs().max() / true.abs().max())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("side", [2, 3, 6, 7])
def test_answer_and_gradients_are_those_of_the_convolution(side: int, bias: bool) -> None:
    conv, maps = make_conv(bias=bias), make_maps(side)
    learning, exact = LearningConv2d(copy.deepcopy(conv)), conv.double()
    assert relative_error(learning(maps), exact(maps.double())) < 1e-5
    truth = gradients(exact, maps.double())
    for found, true in zip(gradients(learning, maps), truth, strict=True):
        assert relative_error(found, true) < 1e-5


def test_small_maps_take_fewer_products_and_large_ones_or_few_tiles_the_convolution() -> None:
    learning = LearningConv2d(make_conv())

    def has_products(maps: torch.Tensor) -> bool:
        with torch.profiler.profile() as profile:
            learning(maps)
        return any(event.key == "aten::bmm" for event in profile.key_averages())

    assert has_products(make_maps(6))
    assert not has_products(make_maps(20))
    assert not has_products(make_maps(6, tiles=LEAST_TILES - 1))


def test_maps_of_a_size_that_was_scored_first_are_learned_from() -> None:
    learning, maps = LearningConv2d(make_conv()), make_maps(4)
    with torch.inference_mode():
        learning(maps)
    assert all(gradient.abs().sum() > 0 for gradient in gradients(learning, maps))


def test_a_network_keeps_its_parameters_and_their_names() -> None:
    network = build("resnet18", 2)
    before = {name: id(parameter) for name, parameter in network.named_parameters()}
    assert filter_while_learning(network) == 13  # 3x3 of stride 1: 16, three of them of stride 2
    assert {name: id(parameter) for name, parameter in network.named_parameters()} == before


def test_training_in_float32_on_the_cpu_uses_them() -> None:
    network = build("resnet18", 2)
    Descent(network, TrainConfig("x", precision="float32"), Processes(torch.device("cpu")))
    assert any(isinstance(layer, LearningConv2d) for layer in network.modules())


def test_other_precisions_keep_their_convolutions() -> None:
    network = build("resnet18", 2)
    Descent(network, TrainConfig("x", precision="bfloat16"), Processes(torch.device("cpu")))
    assert not any(isinstance(layer, LearningConv2d) for layer in network.modules())
