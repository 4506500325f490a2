"""Distillation: a network learns what others answer, beside the labels.

Hinton et al. 2015, arXiv:1503.02531. Teachers and learner see the very same augmented and mixed
pixels in every step: Beyer et al. 2022, arXiv:2106.05237. With `true_colours` all but the changes
of colour: what teachers say of a tile is then learned of it under every lamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.card import ModelCard
from models.checkpoint import load_weights
from models.errors import DatasetError, UnknownModel
from models.recipe import TrainConfig
from models.registry import build, resolve_model
from models.training.descent import ready_network

__all__ = ["Teachers", "read_teachers"]


class Teachers:
    """weights_sha256: of each, in the order of the recipe."""

    def __init__(
        self, networks: Sequence[nn.Module], share: float, weights_sha256: Sequence[str] = ()
    ) -> None:
        """share: of the teachers' mean answer in a target; the label has the rest."""
        self._networks = [network.eval() for network in networks]
        self._share = share
        self.weights_sha256 = list(weights_sha256)

    def teach(self, pixels: Tensor, target: Tensor) -> Tensor:
        """pixels: float (n, 3, side, side), normalised; target: (n, classes) of the labels.

        The teachers' probabilities are those of their bare logits, uncalibrated.
        """
        with torch.no_grad():
            answers = [network(pixels).float().softmax(1) for network in self._networks]
        return torch.lerp(target, torch.stack(answers).mean(0), self._share)


def read_teachers(
    config: TrainConfig, split: str, runs: Path, device: torch.device
) -> Teachers | None:
    """The finished runs in the folder `runs` that the recipe names; None where it names none.

    split: the sentence of the learner's own: a teacher that was trained on another one may have
    seen the patients that the learner is validated and tested on. Raises DatasetError where a
    teacher is not trained yet, or does not fit the recipe.
    """
    names = config.teach.teachers
    if not names:
        return None
    networks, digests = [], []
    for name in names:
        card, weights = _find(config, name, runs)
        _require_alike(config, split, card)
        network = load_weights(
            build(card.architecture, len(card.classes)), weights, card.weights_sha256, card.classes
        )
        network = ready_network(network, config.precision, device)
        networks.append(_seeing_as(network, card, config, device))
        digests.append(card.weights_sha256 or "")
    return Teachers(networks, config.teach.share, digests)


def _find(config: TrainConfig, name: str, runs: Path) -> tuple[ModelCard, Path]:
    path = runs / name / f"{name}.json"
    try:
        card, weights = resolve_model(path)
    except UnknownModel as error:
        raise DatasetError(
            f"recipe {config.name} learns from {name}, which is not trained yet: there is no "
            f"{path}; run `wsi train {name}` into the same folder of runs first"
        ) from error
    if weights is None:
        raise DatasetError(f"recipe {config.name}: {name} has no weights to learn from")
    return card, weights


def _seeing_as(
    network: nn.Module, card: ModelCard, config: TrainConfig, device: torch.device
) -> nn.Module:
    """A teacher that takes the learner's normalised pixels, and normalises them as its own."""
    if (tuple(card.mean), tuple(card.std)) == (config.mean, config.std):
        return network
    return nn.Sequential(_Renormalised(config, card).to(device), network)


class _Renormalised(nn.Module):
    """Pixels as a recipe normalises them → as a card does."""

    def __init__(self, config: TrainConfig, card: ModelCard) -> None:
        super().__init__()
        mine, theirs = torch.tensor([config.mean, config.std]), torch.tensor([card.mean, card.std])
        self.register_buffer("scale", (mine[1] / theirs[1]).view(3, 1, 1))
        self.register_buffer("shift", ((mine[0] - theirs[0]) / theirs[1]).view(3, 1, 1))

    scale: Tensor
    shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * self.scale + self.shift


def _require_alike(config: TrainConfig, split: str, card: ModelCard) -> None:
    """Raises DatasetError."""
    wanted = {
        "classes": (tuple(card.classes), config.classes),
        "tile_px": (card.tile_px, config.tile_px),
        "mpp": (card.mpp, config.mpp),
        "input_px": (card.input_px, config.input_px or config.tile_px),
        "split": (card.split, split),
    }
    for field, (found, mine) in wanted.items():
        if found != mine:
            raise DatasetError(
                f"recipe {config.name} cannot learn from {card.name}: its {field} is {found}, "
                f"and the recipe's is {mine}; train it with the same {field}"
            )
