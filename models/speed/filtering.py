"""Convolutions of small maps with fewer multiplications, by matrix products alone.

Minimal filtering: Winograd 1980; for networks Lavin and Gray 2016, arXiv:1509.09308. The rules are
Toom and Cook's, transposed. The answer is that of the convolution up to rounding in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "FilteredConv2d",
    "LineRule",
    "MapRule",
    "filter_small_maps",
    "is_plain",
    "line_rule",
    "reckon_gain",
]

KERNEL = 3
BLOCK = 4
"""Outputs of a block of a line: six products instead of twelve. Longer blocks lose digits."""

POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-2")))
"""Where the polynomials are evaluated, infinity besides. With 1/2 for the usual 2 the error is the
smaller one (Barabasz et al. 2020, arXiv:1803.10986)."""

PRODUCT_COST, TRANSFORM_COST = 1.4, 2.5
"""Time of a multiplication here to one of oneDNN's direct convolution: measured on AVX2 with maps
of 2 to 13 px and 64 to 512 channels, where products reach two thirds of its rate and transforms,
which wait for memory, two fifths."""

LEAST_GAIN = 1.3
"""Reckoned, below which a convolution stays as it is: 13 px with 64 channels (1.1) gained nothing,
7 px with 128 (1.9) half as much again."""

MOST_PX = 8
"""Side of a map, above which the kernels, which grow with its area, leave the cache."""

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class LineRule:
    """output = gather @ ((spread_kernel @ kernel) * (spread @ line)), float64.

    gather: (out, products). spread_kernel: (products, 3). spread: (products, in).
    constant: products that, all 1, make every output 1: a bias is added to them alone.
    """

    gather: Float64Array
    spread_kernel: Float64Array
    spread: Float64Array
    constant: tuple[int, ...]


def line_rule(length: int) -> LineRule:
    """Of a line of that many numbers, kernel 3, stride 1, with a zero at either end."""
    if length == 2:
        return _pair_rule()
    count = -(-length // BLOCK)
    sizes = [length // count + (i < length % count) for i in range(count)]
    rules = [_block_rule(size) for size in sizes]
    products = sum(size + KERNEL - 1 for size in sizes)
    gather, spread = np.zeros((length, products)), np.zeros((products, length + 2))
    start, row, constant = 0, 0, []
    for size, (gather_block, _, spread_block) in zip(sizes, rules, strict=True):
        rows, taken = slice(row, row + size + 2), slice(start, start + size + 2)
        gather[start : start + size, rows] = gather_block
        spread[rows, taken] = spread_block
        constant.append(row + POINTS.index(Fraction(1)))
        start, row = start + size, row + size + 2
    kernels = np.concatenate([spread_kernel for _, spread_kernel, _ in rules])
    return LineRule(gather, kernels, spread[:, 1:-1], tuple(constant))


def _pair_rule() -> LineRule:
    """Two outputs of two inputs in three products (Karatsuba): the zeros need none."""
    return LineRule(
        gather=np.array([[1.0, 1, 0], [1, 0, 1]]),
        spread_kernel=np.array([[0.0, 1, 0], [0, -1, 1], [1, -1, 0]]),
        spread=np.array([[1.0, 1], [0, 1], [1, 0]]),
        constant=(0,),
    )


def _block_rule(size: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """gather, spread_kernel, spread of `size` outputs from size + 2 inputs."""
    products = size + KERNEL - 1
    points = POINTS[: products - 1]
    spread = np.linalg.inv(_powers(points, products)).T
    scale = np.abs(spread).max(axis=1, keepdims=True)  # equal sizes lose the fewest digits
    return _powers(points, size).T, _powers(points, KERNEL) * scale, spread / scale


def _powers(points: tuple[Fraction, ...], count: int) -> Float64Array:
    """(points + 1, count): 1, p, p² …; the last row is infinity's."""
    finite = [[float(point**power) for power in range(count)] for point in points]
    return np.array([*finite, [0.0] * (count - 1) + [1.0]])


class FilteredConv2d(nn.Module):
    """A 3 x 3 convolution of stride 1 and padding 1 for maps of one size, without gradients.

    float32 (n, c, h, w) → (n, k, h, w). In memory the answer is (h, w, n, k), so that each step is
    one large matrix product; one that follows takes it as it is.
    """

    def __init__(self, conv: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self._rule = MapRule.of(height, width)
        kernels = self._rule.kernels(conv.weight.detach().double())
        self.register_buffer("kernels", kernels.float().contiguous())
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().float())

    kernels: Tensor
    bias: Tensor | None

    def forward(self, maps: Tensor) -> Tensor:
        return self._rule.convolve(maps, self.kernels, self.bias)


@dataclass(frozen=True)
class MapRule:
    """Of a map of one size: LineRule down and across. float32, but for those of the kernel."""

    spread_kernel_down: Tensor
    spread_kernel_across: Tensor
    spread_down: Tensor
    spread_across: Tensor
    gather_down: Tensor
    gather_across: Tensor
    constant: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int) -> MapRule:
        down, across = line_rule(height), line_rule(width)
        matrices = (down.spread, across.spread, down.gather, across.gather)
        spread_down, spread_across, gather_down, gather_across = (
            torch.from_numpy(matrix).float().contiguous() for matrix in matrices
        )
        return cls(
            torch.from_numpy(down.spread_kernel),
            torch.from_numpy(across.spread_kernel),
            spread_down,
            spread_across,
            gather_down,
            gather_across,
            tuple(i * len(across.spread) + j for i in down.constant for j in across.constant),
        )

    def kernels(self, weight: Tensor) -> Tensor:
        """(k, c, 3, 3) → (products, c, k), of the same dtype."""
        down = self.spread_kernel_down.to(weight.dtype)
        across = self.spread_kernel_across.to(weight.dtype)
        return torch.einsum("ah,bw,kchw->abck", down, across, weight).flatten(0, 1)

    def convolve(self, maps: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
        """float32 (n, c, h, w) → (n, k, h, w), which lies in memory as (h, w, n, k)."""
        lines = maps.permute(2, 3, 0, 1).contiguous()
        height, width, n, channels = lines.shape
        spread = (self.spread_down @ lines.view(height, -1)).view(-1, width, n * channels)
        spread = torch.matmul(self.spread_across, spread)
        products = torch.bmm(spread.view(-1, n, channels), kernels)
        if bias is not None:
            for place in self.constant:
                products[place] += bias
        gathered = torch.matmul(self.gather_across, products.view(len(spread), spread.shape[1], -1))
        answer = self.gather_down @ gathered.view(len(spread), -1)
        return answer.view(height, width, n, -1).permute(2, 3, 0, 1)


def filter_small_maps(network: nn.Module, input_px: int) -> int:
    """Replaces the convolutions for which it pays from 64 tiles at once on; how many they are.

    network: in float32 on the CPU, for inputs of input_px a side. A convolution that sees maps of
    several sizes stays.
    """
    replaced = 0
    for name, (height, width) in _map_sizes(network, input_px).items():
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        if is_plain(conv) and reckon_gain(conv, height, width) >= LEAST_GAIN:
            network.set_submodule(name, FilteredConv2d(conv, height, width))
            replaced += 1
    return replaced


def _map_sizes(network: nn.Module, input_px: int) -> dict[str, tuple[int, int]]:
    """Name of a convolution → height and width of its only size of map: one tile is looked at."""
    seen: dict[str, set[tuple[int, int]]] = {}
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            sizes = seen.setdefault(name, set())

            def note(
                _: nn.Module, given: tuple[Tensor], sizes: set[tuple[int, int]] = sizes
            ) -> None:
                sizes.add((given[0].shape[2], given[0].shape[3]))

            hooks.append(layer.register_forward_pre_hook(note))
    try:
        if seen:
            with torch.inference_mode():
                network(torch.zeros(1, 3, input_px, input_px))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: next(iter(sizes)) for name, sizes in seen.items() if len(sizes) == 1}


def is_plain(conv: nn.Conv2d) -> bool:
    """Whether it is one that the rules are for."""
    return (
        conv.kernel_size == (KERNEL, KERNEL)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.weight.dtype == torch.float32
    )


def reckon_gain(conv: nn.Conv2d, height: int, width: int) -> float:
    """How much faster it is reckoned to be; 0 for maps that are too large."""
    if max(height, width) > MOST_PX:
        return 0.0
    inputs, outputs = conv.in_channels, conv.out_channels
    down, across = len(line_rule(height).spread), len(line_rule(width).spread)
    products = down * across * inputs * outputs
    transforms = (down * height * width + down * across * width) * (inputs + outputs)
    direct = KERNEL**2 * height * width * inputs * outputs
    return direct / (PRODUCT_COST * products + TRANSFORM_COST * transforms)
