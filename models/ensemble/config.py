"""What a recipe says of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.ensemble.members import CLASSICAL
from models.errors import DatasetError

__all__ = ["EnsembleConfig"]


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
        for name in ("trees", "rounds", "most"):
            value: Any = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DatasetError(f"recipe: ensemble.{name} is {value!r}; use 1 or more")
        strange = [kind for kind in self.classical if kind not in CLASSICAL]
        if strange:
            raise DatasetError(
                f"recipe: ensemble.classical has {strange[0]!r}; use {', '.join(CLASSICAL)}"
            )
        if len(set(self.members)) < len(self.members):
            raise DatasetError(
                f"recipe: ensemble.members is {', '.join(self.members)}; name each once"
            )

    def shrunk(self) -> EnsembleConfig:
        return replace(self, trees=10, rounds=2, is_small=True)
