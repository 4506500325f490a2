"""Whether a recipe's network takes the crops that it is to be fed, asked before the training."""

from __future__ import annotations

import torch
from torch import nn

from models.errors import DatasetError
from models.recipe import TrainConfig
from models.registry import build

__all__ = ["require_crops"]

TILES = 2  # as few as batch norms take


def require_crops(config: TrainConfig) -> None:
    """Raises DatasetError where the network cannot take a side that it will see."""
    network = _outlined(config)
    for side in _sides(config):
        if _refusal(network, side) is None:
            continue
        with torch.random.fork_rng([]):  # some layers need real numbers to tell
            reason = _refusal(build(config.architecture, len(config.classes)), side)
        if reason is not None:
            what = "input_px is" if config.input_px else "it is fed crops or tiles of"
            raise DatasetError(
                f"recipe {config.name}: {config.architecture} does not take {side} x {side} px, "
                f"and {what} {side} ({reason}); set input_px to a side that it takes"
            )


def _outlined(config: TrainConfig) -> nn.Module:
    """The network without its weights: a pass through it moves no pixel."""
    with torch.random.fork_rng([]):
        try:
            with torch.device("meta"):
                return build(config.architecture, len(config.classes))
        except RuntimeError:  # a network that looks at its own weights while it is built
            return build(config.architecture, len(config.classes))


def _sides(config: TrainConfig) -> list[int]:
    """What the network sees: while it learns, where it is validated, before it learns."""
    if config.input_px:
        return [config.input_px]
    sides = {config.tile_px, *(crop_px for _, crop_px in config.phases)}
    if config.start == "imagenet" and config.without_imagenet == "pretrain":
        sides.add(config.pretrain.crop_px)
    return sorted(sides)


def _refusal(network: nn.Module, side: int) -> str | None:
    """Why not; the last line of what torch says."""
    weight = next(network.parameters(), torch.empty(0))
    pixels = torch.zeros((TILES, 3, side, side), device=weight.device)
    try:
        with torch.no_grad():
            network.train()(pixels)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return None
