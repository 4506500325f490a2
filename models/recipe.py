"""How a model is trained: a flat record, read from a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.augment import AugmentConfig
from models.errors import DatasetError

__all__ = ["RECIPES", "TrainConfig", "read_recipe"]

RECIPES = Path(__file__).parent / "recipes"

RANGES = {
    "seed": (0, 2**62),
    "decay_epochs": (0, 10**6),
    "warmup_epochs": (0, 10**6),
    "batch_size": (2, 10**6),
    "patient_tiles": (1, 10**9),
    "learning_rate": (0, 1e3),
    "momentum": (1e-3, 0.9999),  # Nesterov's needs some
    "weight_decay": (0, 1),
    "label_smoothing": (0, 0.99),
    "mixup": (0, 100),
    "ema": (0, 0.999999),
    "validate_every": (1, 10**6),
    "bootstrap_rounds": (1, 10**6),
}
"""Smallest and largest value. What the card holds as well is checked by the card."""


@dataclass(frozen=True)
class TrainConfig:
    """phases: (epochs, crop_px) one after the other; a smaller crop is a cheaper visit.
    patient_tiles: the most tiles that one patient gives to an epoch.
    decay_epochs: the last epochs, over which the rate falls linearly to zero; before, it is
    constant after a linear warm-up. So a recipe with fewer epochs repeats the start of a longer.
    ema: decay per step of the averaged weights, which are what is validated and kept.
    mixup: alpha of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 switches it off.
    mean, std: of the training tiles' pixels in 0..1, per channel.
    bootstrap_rounds: for the intervals in the card.
    card: texts that the model's card takes over: licence, training_data, intended_use, limits.
    Raises DatasetError where a value is none that training can use.
    """

    name: str
    architecture: str = "resnet18"
    classes: tuple[str, ...] = ("non_idc", "idc")
    tile_px: int = 50
    mpp: float = 4.0
    seed: int = 0
    phases: tuple[tuple[int, int], ...] = ((28, 40), (14, 48), (3, 50))
    decay_epochs: int = 27
    warmup_epochs: int = 2
    batch_size: int = 128
    patient_tiles: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    mixup: float = 0.2
    ema: float = 0.995
    validate_every: int = 2
    mean: tuple[float, float, float] = (0.816, 0.618, 0.720)
    std: tuple[float, float, float] = (0.141, 0.210, 0.152)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    bootstrap_rounds: int = 1000
    card: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value: Any = getattr(self, name)
            kind = int if isinstance(getattr(type(self), name), int) else (int, float)
            if not isinstance(value, kind) or not low <= value <= high:
                raise DatasetError(f"recipe: {name} is {value!r}; use {low:g} to {high:g}")
        if not self.phases or not all(_is_phase(phase, self.tile_px) for phase in self.phases):
            raise DatasetError(
                f"recipe: phases is {self.phases!r}; use pairs of epochs and crop, the crop at "
                f"most {self.tile_px} px"
            )

    @property
    def epochs(self) -> int:
        return sum(epochs for epochs, _ in self.phases)

    def crop_px(self, epoch: int) -> int:
        ends = np.cumsum([epochs for epochs, _ in self.phases])
        return self.phases[int(np.searchsorted(ends, epoch, side="right"))][1]

    def rate(self, epoch: float) -> float:
        """Learning rate at a real-valued epoch."""
        warm = epoch / self.warmup_epochs if self.warmup_epochs else 1.0
        left = (self.epochs - epoch) / self.decay_epochs if self.decay_epochs else 1.0
        return self.learning_rate * min(warm, left, 1.0)

    def to_json(self) -> str:
        """All that decides what the weights become."""
        return json.dumps(asdict(replace(self, card={})), sort_keys=True)


def read_recipe(source: str | Path) -> TrainConfig:
    """A recipe of this project by its name, or a TOML file with the fields of TrainConfig.

    Raises DatasetError where it is neither.
    """
    path = Path(source)
    if path.suffix != ".toml":
        path = RECIPES / f"{source}.toml"
    try:
        fields = _tuples(tomllib.loads(path.read_text("utf-8")))
        return TrainConfig(**fields | {"augment": AugmentConfig(**fields.get("augment", {}))})
    except FileNotFoundError as error:
        known = ", ".join(sorted(found.stem for found in RECIPES.glob("*.toml")))
        raise DatasetError(f"no recipe {source}; use {known}, or a .toml file") from error
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path} is not a training recipe ({error})") from error


def _is_phase(phase: Any, tile_px: int) -> bool:
    return (
        isinstance(phase, tuple)
        and [type(value) for value in phase] == [int, int]
        and phase[0] >= 1
        and 1 <= phase[1] <= tile_px
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
