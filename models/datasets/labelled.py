"""What training and evaluation ask of a labelled set, wherever its pixels are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from models.datasets.items import BoolArray, Int64Array
from models.errors import DatasetError

__all__ = ["Labelled", "Labels", "require_trainable"]


class Labels(Protocol):
    """Whose and of which class: all that a split needs."""

    def __len__(self) -> int: ...

    @property
    def label(self) -> Int64Array:
        """int64 (n,), indices into the classes."""

    @property
    def patient(self) -> npt.NDArray[np.str_]:
        """(n,); what may not be on two sides of a split."""

    @property
    def complete(self) -> BoolArray:
        """(n,): all pictures of the patient are known to be here."""

    @property
    def patients(self) -> list[str]: ...

    def of_patients(self, patients: Iterable[str]) -> Self: ...


class Labelled(Labels, Protocol):
    """The same with pixels, all of one size."""

    def batch(self, index: Int64Array) -> npt.NDArray[np.uint8]:
        """Pixels of those rows, in that order: uint8 (n, height, width, 3)."""


def require_trainable(data: Labels, classes: Sequence[str] = ("non_idc", "idc")) -> None:
    """Raises DatasetError where a split by patient or one of the classes is impossible."""
    if len(data.patients) < 2:
        raise DatasetError(
            f"all {len(data)} tiles are of patient {', '.join(data.patients)}; "
            "training needs at least two patients, because the split is by patient"
        )
    for label, name in enumerate(classes):
        if not (data.label == label).any():
            raise DatasetError(
                f"none of the {len(data)} tiles is of class {label} ({name}); "
                "training needs every class"
            )
