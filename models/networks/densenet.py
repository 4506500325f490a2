"""Densely connected network: Huang et al. 2017, arXiv:1608.06993, as torchvision builds it."""

from torch import nn
from torchvision import models

__all__ = ["densenet121"]


def densenet121(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 32 px."""
    network: nn.Module = models.densenet121(weights=None, num_classes=num_classes)
    return network
