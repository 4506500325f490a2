"""VGG networks: Simonyan & Zisserman 2015, arXiv:1409.1556, with a small head.

The convolutions are torchvision's, by name too, so its ImageNet weights load. The published head
of 124 million parameters is left out: it wants 224 px, and overfits what is to be learned here.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import vgg

__all__ = ["VGG", "vgg16", "vgg19"]

HIDDEN = 256
DROPOUT = 0.5


def vgg16(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 32 px."""
    return VGG("D", num_classes)


def vgg19(num_classes: int) -> nn.Module:
    """As vgg16, with a fourth convolution in each of its last three blocks."""
    return VGG("E", num_classes)


class VGG(nn.Module):
    """configuration: a column of the paper's table 1, D (16 layers) or E (19)."""

    def __init__(self, configuration: str, num_classes: int) -> None:
        super().__init__()
        self.features = vgg.make_layers(vgg.cfgs[configuration])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(512, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, num_classes),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):  # without batch norm nothing learns from less
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.avgpool(self.features(pixels)).flatten(1)
        logits: Tensor = self.classifier(pooled)
        return logits
