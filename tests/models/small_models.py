"""Small cards, networks and tiles for tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.card import ModelCard, write_card
from models.checkpoint import save_weights
from models.registry import build


def make_card(**changed: object) -> ModelCard:
    card = ModelCard(
        name="small",
        architecture="resnet18",
        classes=("non_idc", "idc"),
        positive_class="idc",
        tile_px=32,
        mpp=4.0,
        input_px=32,
        mean=(0.8, 0.6, 0.7),
        std=(0.1, 0.2, 0.2),
    )
    return replace(card, **changed)  # type: ignore[arg-type]


def make_rgb(n: int, tile_px: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, tile_px, tile_px, 3), np.uint8)


def make_network(classes: int = 2, seed: int = 0, architecture: str = "resnet18") -> nn.Module:
    """Random weights, and batch norms that are not the identity."""
    torch.manual_seed(seed)
    network = build(architecture, classes).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.1)
    return network


def write_model(folder: Path, card: ModelCard | None = None, seed: int = 0) -> Path:
    """small.json and small.safetensors; the path of the card."""
    card = card or make_card()
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{card.name}.safetensors"
    network = make_network(len(card.classes), seed, card.architecture)
    sha256 = save_weights(network, weights, classes=card.classes)
    path = folder / f"{card.name}.json"
    write_card(replace(card, weights_file=weights.name, weights_sha256=sha256), path)
    return path


class ChannelNetwork(nn.Module):
    """Logits (0, mean of the red channel as it arrives)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        red = pixels[:, 0].mean((1, 2)) * self.weight
        return torch.stack([torch.zeros_like(red), red], 1)
