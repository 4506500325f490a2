"""Fewer multiplications, the same convolution."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from models.speed.filtering import FilteredConv2d, filter_small_maps, line_rule
from tests.models.small_models import make_network


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 11])
def test_a_rule_is_the_sliding_product_with_zeros_at_both_ends(length: int) -> None:
    rule, rng = line_rule(length), np.random.default_rng(length)
    line, kernel = rng.normal(size=length), rng.normal(size=3)

    filtered = rule.gather @ ((rule.spread_kernel @ kernel) * (rule.spread @ line))

    expected = np.correlate(np.pad(line, 1), kernel, mode="valid")
    np.testing.assert_allclose(filtered, expected, atol=1e-12)


@pytest.mark.parametrize(("length", "products"), [(2, 3), (4, 6), (7, 11), (8, 12)])
def test_a_rule_needs_fewer_products_than_three_an_output(length: int, products: int) -> None:
    assert len(line_rule(length).spread) == products


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8])
def test_a_one_in_the_constant_products_is_a_one_in_every_output(length: int) -> None:
    rule = line_rule(length)
    products = np.zeros(len(rule.spread))
    products[list(rule.constant)] = 1

    np.testing.assert_allclose(rule.gather @ products, 1, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 4), (7, 7), (5, 2), (1, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_filtered_convolution_is_the_convolution(height: int, width: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, 3, padding=1, bias=bias)
    maps = torch.randn(5, 6, height, width)

    with torch.inference_mode():
        expected = conv.double()(maps.double())
        filtered = FilteredConv2d(conv, height, width)(maps)

    # sums of 54 products of size 1 in float32: 1e-6 by themselves
    np.testing.assert_allclose(filtered, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_a_network_answers_as_before(architecture: str) -> None:
    plain = make_network(architecture=architecture)
    filtered = copy.deepcopy(plain)
    pixels = torch.randn(8, 3, 50, 50)

    replaced = filter_small_maps(filtered, 50)

    assert replaced > 5
    with torch.inference_mode():
        one, two = plain(pixels).double(), filtered(pixels).double()
    assert (one - two).abs().max() < 1e-5 * one.abs().max()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(64, 64, 3, padding=1, stride=2),
        nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 64, 5, padding=2),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_convolutions_stay_as_they_are(conv: nn.Conv2d) -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 1), conv)

    assert filter_small_maps(network, 7) == 0
    assert network[1] is conv


def test_large_maps_stay_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, padding=1))

    assert filter_small_maps(copy.deepcopy(network), 8) == 1
    assert filter_small_maps(network, 9) == 0


def test_a_convolution_that_sees_maps_of_two_sizes_stays() -> None:
    shared = nn.Conv2d(64, 64, 3, padding=1)
    network = nn.Sequential(nn.Conv2d(3, 64, 1), shared, nn.MaxPool2d(2), shared)

    assert filter_small_maps(network, 8) == 0
