"""A plain network of four convolutions, to compare the deep ones with."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["FourLayerNetwork", "breakhis_cnn"]

WIDTHS = (32, 64, 128, 256)
DROPOUT = 0.5


def breakhis_cnn(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 16 px."""
    return FourLayerNetwork(num_classes)


class FourLayerNetwork(nn.Module):
    """Four times convolution (3x3), batch norm, ReLU and max pooling; then one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        inputs = (3, *WIDTHS[:-1])
        layers = [_make_layer(*pair) for pair in zip(inputs, WIDTHS, strict=True)]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.avgpool(self.features(pixels)).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def _make_layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
