"""The network that training begins with: random, of ImageNet, or of what came in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from models.card import file_sha256
from models.checkpoint import load_backbone
from models.datasets import Labelled
from models.errors import ModelError, WeightsError
from models.imagenet import IMAGENET, find_imagenet
from models.recipe import TrainConfig
from models.registry import PICKLES, build
from models.training.freezing import freeze
from models.training.parallel import Processes
from models.training.pretrain import pretrain

__all__ = ["Start", "start_network"]

RANDOM = "Random weights."
PRETRAINED = (
    "Self-supervised pretraining (SimSiam, {epochs} epochs) on the {tiles} training tiles, without "
    "their labels."
)
INSTEAD = {
    "pretrain": "self-supervised pretraining on the training patients",
    "random": "random weights",
}
LIMIT = (
    "Its authors started from ImageNet weights, which were not at hand: this model started from "
    "{instead}. No comparison with their figures is claimed."
)

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """how: a sentence for the card. limit: one for its limits, where the recipe wanted other."""

    network: nn.Module
    how: str
    limit: str | None = None


def start_network(
    config: TrainConfig,
    tiles: Labelled,
    folder: Path,
    processes: Processes,
    *,
    weights: Path | None = None,
    imagenet: Path = IMAGENET,
    on_epoch: Callable[[int, int, float], None] = lambda epoch, epochs, loss: None,
) -> Start:
    """weights: safetensors to start from, whatever the recipe says; their head is left out.

    tiles: to pretrain on. folder: for what comes of it, which other recipes may
    share. Raises WeightsError where weights are missing or of another network.
    """
    torch.manual_seed(config.seed)
    network = build(config.architecture, len(config.classes))
    how, limit = RANDOM, None
    if weights is not None:
        _require_safetensors(weights)
    elif config.start == "imagenet":
        weights = _find(config, imagenet, is_heard=processes.is_first)
    if weights is not None:
        load_backbone(network, weights)
        how = f"Weights {weights.name} (sha256 {file_sha256(weights)[:12]})."
    elif config.start == "imagenet":
        limit = LIMIT.format(instead=INSTEAD[config.without_imagenet])
        if config.without_imagenet == "pretrain":
            load_backbone(network, pretrain(config, tiles, folder, processes, on_epoch))
            how = PRETRAINED.format(epochs=config.pretrain.epochs, tiles=len(tiles))
    freeze(network, config.freeze)
    return Start(network.to(processes.device), how, limit)


def _find(config: TrainConfig, imagenet: Path, *, is_heard: bool) -> Path | None:
    """ImageNet weights; None where there are none, and the recipe says what comes instead."""
    try:
        return find_imagenet(config.architecture, imagenet)
    except ModelError as error:
        if config.without_imagenet == "refuse":
            raise
        if is_heard:
            instead = INSTEAD[config.without_imagenet]
            logger.warning("recipe %s starts from %s: %s", config.name, instead, error)
        return None


def _require_safetensors(weights: Path) -> None:
    if weights.suffix in PICKLES:
        raise WeightsError(
            f"{weights} is a pickle, which can run code; convert it once with "
            f"`wsi models import {weights}` and give the .safetensors file that it writes"
        )
