"""The network that training begins with: random, of ImageNet, or of what came in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from models.checkpoint import load_backbone
from models.datasets import Labelled
from models.errors import UnknownModel, WeightsError
from models.freezing import freeze
from models.parallel import Processes
from models.pretrain import pretrain
from models.recipe import TrainConfig
from models.registry import build

__all__ = ["IMAGENET", "Start", "imagenet_file", "start_network"]

IMAGENET = Path.home() / ".cache" / "wsi" / "imagenet"
"""Where `wsi models import NAME` puts ImageNet weights, and training looks for them."""

RANDOM = "Random weights."
INSTEAD = (
    "Its authors started from ImageNet weights, which were not at hand: this model started from "
    "{instead}. No comparison with their figures is claimed."
)

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """how: a sentence for the card. limit: one for its limits, where the recipe wanted other."""

    network: nn.Module
    how: str
    limit: str | None = None


def imagenet_file(architecture: str) -> str:
    """The name of torchvision's file of ImageNet weights. Raises UnknownModel."""
    from torchvision import models

    try:
        url: str = models.get_model_weights(architecture)["IMAGENET1K_V1"].url
    except (ValueError, KeyError) as error:
        raise UnknownModel(
            f"torchvision publishes no ImageNet weights of {architecture!r}; name one of its files"
        ) from error
    return url.rpartition("/")[2]


def start_network(
    config: TrainConfig,
    tiles: Labelled,
    out: Path,
    processes: Processes,
    *,
    weights: Path | None = None,
    imagenet: Path = IMAGENET,
    on_epoch: Callable[[int, int, float], None] = lambda epoch, epochs, loss: None,
) -> Start:
    """weights: safetensors to start from, whatever the recipe says; their head is left out.

    tiles: to pretrain on. Raises WeightsError where weights are missing or of another network.
    """
    torch.manual_seed(config.seed)
    network = build(config.architecture, len(config.classes))
    how, limit = RANDOM, None
    if weights is None and config.start == "imagenet":
        weights = _find_imagenet(config, imagenet)
    if weights is not None:
        load_backbone(network, weights)
        how = f"Weights {weights.name}."
    elif config.start == "imagenet" and config.without_imagenet == "pretrain":
        load_backbone(network, pretrain(config, tiles, out, processes, on_epoch))
        how = (
            f"Self-supervised pretraining (SimSiam, {config.pretrain.epochs} epochs) on the "
            f"{len(tiles)} training tiles, without their labels."
        )
        limit = INSTEAD.format(instead="self-supervised pretraining on the training patients")
    elif config.start == "imagenet":
        limit = INSTEAD.format(instead="random weights")
    freeze(network, config.freeze)
    return Start(network.to(processes.device), how, limit)


def _find_imagenet(config: TrainConfig, folder: Path) -> Path | None:
    """None where the recipe says what comes in their place. A stem of its own changes nothing."""
    architecture = config.architecture.removesuffix("-stem1")
    path = folder / f"{architecture}.safetensors"
    if path.is_file():
        return path
    if config.without_imagenet == "refuse":
        file = imagenet_file(architecture)
        raise WeightsError(
            f"recipe {config.name} starts from ImageNet weights, which are not at {path}; get "
            f"torchvision's {file} on any machine and run `wsi models import {file}` here, or name "
            "other weights with --weights"
        )
    logger.warning(
        "recipe %s: no ImageNet weights at %s; %s instead",
        config.name,
        path,
        {"pretrain": "self-supervised pretraining", "random": "random weights"}[
            config.without_imagenet
        ],
    )
    return None
