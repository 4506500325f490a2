"""Vision transformers: Dosovitskiy et al. 2021, arXiv:2010.11929, as torchvision builds them."""

from torch import nn
from torchvision import models

__all__ = ["vit_b_16", "vit_s_16"]

INPUT_PX = 224
"""The side they take, and no other: each place of a 16-px square has its own embedding."""


def vit_b_16(num_classes: int) -> nn.Module:
    """float (n, 3, 224, 224) → logits (n, num_classes); 86 million parameters."""
    network: nn.Module = models.vit_b_16(weights=None, num_classes=num_classes)
    return network


def vit_s_16(num_classes: int) -> nn.Module:
    """As vit_b_16, 22 million parameters: half as wide (Touvron et al. 2021, arXiv:2012.12877)."""
    network: nn.Module = models.VisionTransformer(
        image_size=INPUT_PX,
        patch_size=16,
        num_layers=12,
        num_heads=6,
        hidden_dim=384,
        mlp_dim=1536,
        num_classes=num_classes,
    )
    return network
