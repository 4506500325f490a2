"""Convolutions of small maps that learn with fewer multiplications, on the CPU."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from models.speed.filtering import MapRule, is_plain, reckon_gain

__all__ = ["LearningConv2d", "filter_while_learning"]

LEAST_GAIN = 1.5
"""As models.speed.filtering reckons it; higher than there, because the rules go through memory more
often on the way back: with the four 10 px maps of ResNet-18, reckoned 1.3, it learned from 150
tiles of 40 px a second, without them from 169. One core beside other work, 128 tiles, without and
with: ResNet-18 at 40 px 95 and 140, at 50 px 67 and 111; VGG16 at 32 px 38 and 54, at 50 px 14
and 17, at 40 px 24 and 23."""

LEAST_TILES = 64
"""In a batch: a product with few rows is no faster than the convolution."""


@lru_cache(maxsize=64)
def _rule(height: int, width: int) -> MapRule:
    with torch.inference_mode(False):  # one that scoring was the first to want is learned with too
        return MapRule.of(height, width)


class LearningConv2d(nn.Conv2d):
    """A convolution with the parameters of another one, which it shares; the same answer and the
    same gradients up to rounding in float32."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, 3, padding=1, bias=False, device="meta"
        )
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, maps: Tensor) -> Tensor:
        n, _, height, width = maps.shape
        if n < LEAST_TILES or reckon_gain(self, height, width) < LEAST_GAIN:
            return super().forward(maps)
        rule = _rule(height, width)
        return rule.convolve(maps, rule.kernels(self.weight), self.bias)


def filter_while_learning(network: nn.Module) -> int:
    """Replaces the convolutions that the rules are for; how many. Parameters and their names stay.

    network: in float32 on the CPU. Each batch decides for itself: its maps may be of any size.
    """
    convolutions = [
        (name, layer)
        for name, layer in network.named_modules()
        if type(layer) is nn.Conv2d and is_plain(layer)
    ]
    for name, conv in convolutions:
        network.set_submodule(name, LearningConv2d(conv))
    return len(convolutions)
