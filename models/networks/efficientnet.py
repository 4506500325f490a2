"""EfficientNets: Tan & Le 2019, arXiv:1905.11946, as torchvision builds them."""

from torch import nn
from torchvision import models

__all__ = ["efficientnet_b0", "efficientnet_b3"]


def efficientnet_b0(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 32 px."""
    network: nn.Module = models.efficientnet_b0(weights=None, num_classes=num_classes)
    return network


def efficientnet_b3(num_classes: int) -> nn.Module:
    """As efficientnet_b0, wider and deeper: 12 instead of 5 million parameters."""
    network: nn.Module = models.efficientnet_b3(weights=None, num_classes=num_classes)
    return network
