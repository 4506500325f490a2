"""What a network looked at: Grad-CAM of a tile, and an occlusion map.

Grad-CAM: Selvaraju et al. 2017 (arXiv:1610.02391), eq. 1 and 2. Occlusion: Zeiler & Fergus 2014
(arXiv:1311.2901), section 4.2. Both show what moved this answer, not what a tumour is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.card import ModelCard
from models.checkpoint import load_weights
from models.errors import ModelError
from models.infer import Classifier
from models.registry import build, is_torchscript, resolve_model

__all__ = ["Explanation", "attend", "explain_tile", "load_layers", "occlude"]

LEAST_MAP = 4
"""Rows of the map that Grad-CAM takes. The last maps of a ResNet have 2 x 2 for a tile of 50 px,
which shows nothing; the last with 4 x 4 or more has met most of the tile already."""

OCCLUDED = 0.2  # side of the square that is covered, as a part of the tile's
STEPS_OF_SQUARE = 4  # it moves by so much of its side


@dataclass(frozen=True)
class Explanation:
    """One tile of (tile_px, tile_px), explained for one class."""

    prob: NDArray[np.float32]  # (classes,), as the classifier answers
    target: str  # a class
    target_prob: float
    gradient: (
        NDArray[np.float32] | None
    )  # (tile_px, tile_px), 0..1; None without a network's layers
    gradient_px: int  # side of the map that it was enlarged from; 0 without
    occlusion: NDArray[np.float32]  # (tile_px, tile_px): how far the probability falls, -1..1
    occluded_px: int  # side of the square that was covered


def explain_tile(
    classifier: Classifier,
    layers: nn.Module | None,
    rgb: NDArray[np.uint8],
    target: str | None = None,
) -> Explanation:
    """rgb: uint8 (tile_px, tile_px, 3). target: one of the card's classes, by default the positive
    one. layers: of load_layers(). Raises ModelError."""
    card = classifier.card
    card.require_tiles(rgb[None])
    number = _class_number(card, target)
    prob = classifier.predict(rgb[None])[0]
    gradient, side = None, 0
    if layers is not None:
        gradient, side = attend(layers, card, rgb, number)
    occlusion, square = occlude(classifier, rgb, number)
    name, of_target = card.classes[number], float(prob[number])
    return Explanation(prob, name, of_target, gradient, side, occlusion, square)


def load_layers(model: str | Path) -> nn.Module | None:
    """The network as it was trained, on the CPU, so that its layers can be asked; None where the
    model has none to ask: TorchScript, or no network at all."""
    card, weights = resolve_model(model)
    if weights is None or is_torchscript(weights):
        return None
    network = build(card.architecture, len(card.classes)).eval()
    return load_weights(network, weights, card.weights_sha256, card.classes)


def attend(
    network: nn.Module, card: ModelCard, rgb: NDArray[np.uint8], target: int
) -> tuple[NDArray[np.float32], int]:
    """Grad-CAM of one class: float32 (tile_px, tile_px), its largest value 1 (all 0 where nothing
    speaks for the class); and the side of the map that it was enlarged from.

    Of the layers that the answer depends on, the last with LEAST_MAP rows or more, else the last.
    Tokens of a transformer are a map, too. Raises ModelError where there is none.
    """
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(_collector(seen)) for layer in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(_normal(card, rgb).requires_grad_())
            gradients = torch.autograd.grad(logits[0, target], seen, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [
        (_as_map(values), _as_map(gradient))
        for values, gradient in zip(seen, gradients, strict=True)
        if gradient is not None
    ]
    used = [pair for pair in pairs if pair[1].abs().max() > 0]
    if not used:
        raise ModelError(f"{card.name}: no layer has a map that its answer depends on")
    chosen = [pair for pair in used if pair[0].shape[1] >= LEAST_MAP] or used
    values, gradient = chosen[-1]
    cam = functional.relu((gradient.mean((1, 2), keepdim=True) * values).sum(0)).detach()
    side = (card.tile_px, card.tile_px)
    enlarged = functional.interpolate(cam[None, None], side, mode="bilinear")[0, 0]
    peak = float(enlarged.max())
    return (enlarged / peak if peak > 0 else enlarged).numpy(), max(values.shape[1:])


def occlude(
    classifier: Classifier, rgb: NDArray[np.uint8], target: int
) -> tuple[NDArray[np.float32], int]:
    """How far the probability falls where a square is covered by the mean colour of training:
    float32 (tile_px, tile_px), the mean of all squares over a pixel; and the square's side, px."""
    side = classifier.card.tile_px
    square = max(1, round(side * OCCLUDED))
    starts = _starts(side, square)
    corners = [(y, x) for y in starts for x in starts]
    covered = np.repeat(rgb[None], len(corners), 0)
    colour = np.floor(np.asarray(classifier.card.mean) * 255 + 0.5).astype(np.uint8)
    for tile, (y, x) in zip(covered, corners, strict=True):
        tile[y : y + square, x : x + square] = colour
    whole = classifier.predict(rgb[None])[0, target]
    falls = whole - classifier.predict(covered)[:, target]
    total, count = np.zeros((2, side, side), np.float32)
    for fall, (y, x) in zip(falls, corners, strict=True):
        total[y : y + square, x : x + square] += fall
        count[y : y + square, x : x + square] += 1
    return total / count, square


def _starts(side: int, square: int) -> list[int]:
    """Of squares that cover the side from its first to its last pixel."""
    steps = max(1, math.ceil((side - square) * STEPS_OF_SQUARE / square))
    return [round(step * (side - square) / steps) for step in range(steps + 1)]


def _class_number(card: ModelCard, target: str | None) -> int:
    name = card.positive_class if target is None else target
    if name not in card.classes:
        raise ModelError(f"class {name!r}: {card.name} has {', '.join(card.classes)}")
    return card.classes.index(name)


def _normal(card: ModelCard, rgb: NDArray[np.uint8]) -> Tensor:
    pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float()
    if card.input_px != card.tile_px:
        side = (card.input_px, card.input_px)
        pixels = functional.interpolate(pixels, side, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))
    return (pixels / 255 - mean) / std


def _collector(seen: list[Tensor]) -> Callable[[nn.Module, object, object], None]:
    def collect(_layer: nn.Module, _given: object, made: object) -> None:
        if isinstance(made, Tensor) and made.requires_grad and _is_map(made):
            seen.append(made)

    return collect


def _is_map(values: Tensor) -> bool:
    """(1, channels, rows, columns) or a class token and a square of others, (1, 1 + n * n, d)."""
    if values.ndim == 4:
        return min(values.shape[2:]) > 1
    return values.ndim == 3 and values.shape[1] > 4 and _side(values) ** 2 == values.shape[1] - 1


def _as_map(values: Tensor) -> Tensor:
    """(channels, rows, columns)"""
    if values.ndim == 4:
        return values[0]
    return values[0, 1:].T.reshape(values.shape[2], _side(values), _side(values))


def _side(tokens: Tensor) -> int:
    return math.isqrt(tokens.shape[1] - 1)
