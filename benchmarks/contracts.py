"""What tiles are asked for, and the default model fed with them."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from models.card import write_card
from models.registry import DEFAULT_MODEL, resolve_model

__all__ = ["CONTRACTS", "Contract", "write_model"]


@dataclass(frozen=True)
class Contract:
    tile_px: int
    mpp: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """'50x4' → 50 px at 4 um/px."""
        tile_px, _, mpp = text.partition("x")
        return cls(int(tile_px), float(mpp))

    @property
    def slug(self) -> str:
        return f"{self.tile_px}x{self.mpp:g}"

    def __str__(self) -> str:
        return f"{self.tile_px} px at {self.mpp:g} um/px"


CONTRACTS = (Contract(50, 4.0), Contract(256, 0.5), Contract(224, 0.7))
"""The default model's own; a common one; and one for which no level of a slide fits."""


def write_model(contract: Contract, folder: Path) -> Path:
    """The default model with a card that takes the contract's tiles, into `folder`.

    Where the contract is not its own its scores mean nothing; its arithmetic is that of any
    ResNet-18.
    """
    card, weights = resolve_model(DEFAULT_MODEL)
    assert weights is not None
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / weights.name)
    side = contract.tile_px
    fed = replace(card, tile_px=side, input_px=side, mpp=contract.mpp)
    write_card(fed, folder / "card.json")
    return folder
