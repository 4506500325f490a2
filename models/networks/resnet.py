"""Residual networks: He et al. 2016, arXiv:1512.03385, as torchvision builds them.

Layers are named as torchvision and timm name them, so weights of either load.
"""

from torch import nn
from torchvision import models

__all__ = ["resnet18", "resnet18_stem1", "resnet34", "resnet50"]


def resnet18(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 32 px."""
    network: nn.Module = models.resnet18(weights=None, num_classes=num_classes)
    return network


def resnet18_stem1(num_classes: int) -> nn.Module:
    """As resnet18, but its first convolution looks at every pixel instead of every other one.

    Small tiles keep twice the detail a side in every layer, at four times the arithmetic. The
    kernel stays 7x7, so weights of resnet18 fit.
    """
    network: nn.Module = models.resnet18(weights=None, num_classes=num_classes)
    first = network.get_submodule("conv1")
    first.stride = (1, 1)  # type: ignore[assignment]
    return network


def resnet34(num_classes: int) -> nn.Module:
    """As resnet18, twice as deep."""
    network: nn.Module = models.resnet34(weights=None, num_classes=num_classes)
    return network


def resnet50(num_classes: int) -> nn.Module:
    """As resnet18, of bottleneck blocks."""
    network: nn.Module = models.resnet50(weights=None, num_classes=num_classes)
    return network
