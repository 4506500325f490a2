"""What a recipe says of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.ensemble.members import CLASSICAL
from models.errors import DatasetError
from models.training.fields import check_fields, check_texts

__all__ = ["EnsembleConfig", "refuse_learning"]

LEARNING = (
    "input_px",
    "start",
    "without_imagenet",
    "freeze",
    "sampler",
    "phases",
    "schedule",
    "decay_epochs",
    "warmup_epochs",
    "patience",
    "rate_factor",
    "stop_after",
    "watch",
    "keep",
    "batch_size",
    "patient_tiles",
    "optimizer",
    "learning_rate",
    "momentum",
    "weight_decay",
    "clip",
    "loss",
    "focal_gamma",
    "label_smoothing",
    "mixup",
    "ema",
    "precision",
    "validate_every",
    "augment",
    "pretrain",
    "few_shot",
    "teach",
)
"""Fields of a recipe that say how a network learns."""


@dataclass(frozen=True)
class EnsembleConfig:
    """members: recipes of the networks, by name or TOML file; none: the recipe is no ensemble.
    classical: which of CLASSICAL are fitted on the features of all networks together.
    trees: of the forest. rounds: of boosting. most: tiles that the classical ones learn from, drawn
    by the seed where there are more: the SVM's work grows with their square.
    changes: fields in the place of those in each member's recipe. is_small: members are shrunk.
    """

    members: tuple[str, ...] = ()
    classical: tuple[str, ...] = CLASSICAL
    trees: int = 200
    rounds: int = 100
    most: int = 10_000
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    is_small: bool = False

    def __post_init__(self) -> None:
        check_fields(self, dict.fromkeys(("trees", "rounds", "most"), (1, 10**9)), "ensemble")
        check_texts("ensemble.members", self.members)
        check_texts("ensemble.classical", self.classical)
        if not isinstance(self.changes, Mapping):
            raise DatasetError(
                f"recipe: ensemble.changes is {self.changes!r}; it is a table, set "
                "ensemble.changes.FIELD"
            )
        strange = [kind for kind in self.classical if kind not in CLASSICAL]
        if strange:
            raise DatasetError(
                f"recipe: ensemble.classical has {strange[0]!r}; use {', '.join(CLASSICAL)}"
            )

    def shrunk(self) -> EnsembleConfig:
        return replace(self, trees=10, rounds=2, is_small=True)


def refuse_learning(recipe: Any, plain: Any) -> None:
    """Raises DatasetError where an ensemble's recipe says how a network learns, which nobody would
    obey. plain: a recipe that says nothing."""
    said = [name for name in LEARNING if getattr(recipe, name) != getattr(plain, name)]
    if said:
        raise DatasetError(
            f"recipe {recipe.name} is an ensemble, and {said[0]} says how a network learns; set "
            f"ensemble.changes.{said[0]} for all its members, or change their recipes"
        )
