"""A small ConvNeXt for small tiles: Liu et al. 2022, arXiv:2201.03545."""

from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

__all__ = ["convnext_pico"]

WIDTHS = (64, 128, 256, 512)
BLOCKS = (2, 2, 6, 2)
"""The size that timm calls pico: 9 million parameters."""


def convnext_pico(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 32 px.

    The first convolution has stride 2 instead of 4: of a 50-px tile the last stage would see one
    cell, here it sees 3x3.
    """
    blocks = [
        CNBlockConfig(width, following, count)
        for width, following, count in zip(WIDTHS, (*WIDTHS[1:], None), BLOCKS, strict=True)
    ]
    network: nn.Module = models.ConvNeXt(blocks, stochastic_depth_prob=0.1, num_classes=num_classes)
    network.get_submodule("features.0.0").stride = (2, 2)  # type: ignore[assignment]
    return network
