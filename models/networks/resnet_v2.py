"""ResNet-50 with pre-activation: He et al. 2016, arXiv:1603.05027.

Batch norm and ReLU come before each convolution, so that the shortcut carries its input unchanged
from the first layer to the last. Nobody publishes its ImageNet weights in torchvision's form.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PreActivationBottleneck", "ResNetV2", "resnet50v2"]

EXPANSION = 4
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks and stride of each stage of ResNet-50."""


def resnet50v2(num_classes: int) -> nn.Module:
    """float (n, 3, h, w) → logits (n, num_classes); any side from 32 px."""
    return ResNetV2(num_classes)


class PreActivationBottleneck(nn.Module):
    """Three convolutions (1, 3, 1), each behind its batch norm and ReLU.

    Where the shape changes the shortcut is a convolution of the activated input, as in the paper's
    section 4.1.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        active = self.relu(self.bn1(inputs))
        shortcut: Tensor = inputs if self.downsample is None else self.downsample(active)
        residual = self.conv1(active)
        residual = self.conv2(self.relu(self.bn2(residual)))
        residual = self.conv3(self.relu(self.bn3(residual)))
        summed: Tensor = residual + shortcut
        return summed


class ResNetV2(nn.Module):
    """Stages are named layer1 to layer4, the head fc, as in torchvision's residual networks."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for number, (width, blocks, stride) in enumerate(STAGES, start=1):
            self.add_module(f"layer{number}", _make_stage(inputs, width, blocks, stride))
            inputs = EXPANSION * width
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.maxpool(self.conv1(pixels))
        for number in range(1, len(STAGES) + 1):
            features = self.get_submodule(f"layer{number}")(features)
        features = self.avgpool(self.relu(self.norm(features)))
        logits: Tensor = self.fc(features.flatten(1))
        return logits


def _make_stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActivationBottleneck(inputs, width, stride)
    rest = [PreActivationBottleneck(EXPANSION * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
