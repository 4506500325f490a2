"""What a network saw of a tile, beside what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.card import ModelCard
from models.ensemble.members import Member
from models.errors import WeightsError
from models.network import TorchClassifier, choose_device, choose_dtype, default_batch, load_network
from models.speed.tuning import Tuning

__all__ = ["Deep", "DeepNetwork", "keep_features", "load_member"]


class Deep(NamedTuple):
    """prob: float32 (n, classes), uncalibrated; features: float32 (n, width)."""

    prob: NDArray[np.float32]
    features: NDArray[np.float32]


class HeadWithFeatures(nn.Module):
    """float (n, width) → (n, classes + width): the logits, then what they were made of."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.head(features), features], 1)


class DeepNetwork(TorchClassifier):
    """A network that is asked for its features too, each tile once; it calibrates nothing.

    Always computed layer by layer: trees that look at the features turn the last bits, which other
    forms change from batch to batch, into other answers.
    """

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        device: str = "auto",
        *,
        batch_size: int | None = None,
        precision: str = "auto",
    ) -> None:
        """network: gets another last layer."""
        self.feature_count = keep_features(network)
        where = choose_device(device)
        dtype = str(choose_dtype(precision, where)).removeprefix("torch.")
        plain = Tuning("plain", dtype, default_batch(card, where))
        super().__init__(card, network, device, batch_size=batch_size, tuning=plain)
        self.place = f"{where}, {dtype}"

    def look(self, rgb: NDArray[np.uint8]) -> Deep:
        """uint8 (n, tile_px, tile_px, 3). Raises ModelError, DeviceError."""
        outputs = self.predict_raw(rgb)
        return Deep(*np.split(outputs, [len(self.card.classes)], axis=1))

    @property
    def _width(self) -> int:
        return len(self.card.classes) + self.feature_count

    def _finish(self, outputs: Tensor) -> Tensor:
        count = len(self.card.classes)
        return torch.cat([super()._finish(outputs[:, :count]), outputs[:, count:]], 1)


def keep_features(network: nn.Module) -> int:
    """Changes the last layer so that its input is answered, too; how many numbers that is.

    Raises WeightsError where the last layer is not linear.
    """
    *_, (last, _) = network.named_parameters()
    path = last.rpartition(".")[0]
    head = network.get_submodule(path)
    if not isinstance(head, nn.Linear):
        raise WeightsError(
            f"{type(network).__name__} ends in {type(head).__name__}, so it has no features to "
            "classify; use a network whose last layer is linear"
        )
    network.set_submodule(path, HeadWithFeatures(head))
    return head.in_features


def load_member(
    card: ModelCard,
    member: Member,
    folder: Path,
    device: str = "auto",
    *,
    batch_size: int | None = None,
    precision: str = "auto",
) -> DeepNetwork:
    """A network of the ensemble `card`, whose files lie in `folder`. Raises ModelError."""
    own = ModelCard(
        name=f"{card.name}.{member.name}",
        architecture=member.architecture,
        classes=card.classes,
        positive_class=card.positive_class,
        tile_px=card.tile_px,
        mpp=card.mpp,
        input_px=member.input_px,
        mean=member.mean,
        std=member.std,
        weights_file=member.file,
        weights_sha256=member.sha256,
    )
    network = load_network(own, folder / member.file)
    return DeepNetwork(own, network, device, batch_size=batch_size, precision=precision)
