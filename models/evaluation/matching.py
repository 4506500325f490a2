"""Which class of a model is which class of a labelled set: by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.errors import DatasetError

__all__ = ["Matching", "match_classes"]

SAME: dict[str, str] = {"cancer": "idc", "notcancer": "nonidc"}
"""Names of the folders in which the IDC tiles are also passed on."""


@dataclass(frozen=True)
class Matching:
    """names: the classes that are told apart, of two the positive one last. place: of each class of
    the set its index in `names`. columns: of each name its column of the model's answer; of two
    only the positive one's. note: what was assumed."""

    names: tuple[str, ...]
    place: tuple[int, ...]
    columns: tuple[int, ...]
    note: str | None = None

    def label(self, of_set: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array(self.place, np.int64)[of_set]

    def prob(self, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, classes of the model) to (n, names)."""
        if len(self.columns) > 1:
            return answer[:, self.columns]
        positive = answer[:, self.columns[0]]
        return np.stack([1 - positive, positive], 1)


def match_classes(card: ModelCard, classes: Sequence[str]) -> Matching:
    """classes: of the set. A set of two is met by a model's positive class against all its others.

    Raises DatasetError where a class of the set is none of the model's.
    """
    own = {_plain(name): i for i, name in enumerate(card.classes)}
    theirs = [_plain(name) for name in classes]
    if len(classes) == 2:
        return _match_two(card, classes, own)
    if set(theirs) != set(own):
        raise _misfit(card, classes)
    columns = tuple(own[name] for name in theirs)
    return Matching(tuple(card.classes[i] for i in columns), tuple(range(len(classes))), columns)


def _match_two(card: ModelCard, classes: Sequence[str], own: dict[str, int]) -> Matching:
    theirs = [_plain(name) for name in classes]
    positive = _plain(card.positive_class)
    if positive not in theirs and len(card.classes) > 2:
        raise _misfit(card, classes)
    at = theirs.index(positive) if positive in theirs else 1
    others = [name for name in card.classes if name != card.positive_class]
    negative = others[0] if len(others) == 1 else "other"
    note = None
    if set(theirs) != set(own):
        note = (
            f"the set's classes are {classes[1 - at]} and {classes[at]}: {card.positive_class} of "
            f"the model is taken for {classes[at]}, {', '.join(others)} for {classes[1 - at]}"
        )
    place = (0, 1) if at else (1, 0)
    return Matching((negative, card.positive_class), place, (card.positive_index,), note)


def _misfit(card: ModelCard, classes: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"{card.name} knows the classes {', '.join(card.classes)}, the set has "
        f"{', '.join(classes)}; name a model of these classes, or another set"
    )


def _plain(name: str) -> str:
    """in_situ, InSitu and "in situ" are one class."""
    plain = "".join(c for c in name.lower() if c.isalnum())
    return SAME.get(plain, plain)
