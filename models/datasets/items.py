"""What a labelled set holds: which picture is where, of which class, of whom. No pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from wsi.geometry import Size

__all__ = ["BoolArray", "Cell", "Damage", "Int64Array", "Item", "Pictures", "refuse_damaged"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
NAMED_FAILURES = 5
IDC_LAYOUTS = ("idc", "two-folders")


class Cell(NamedTuple):
    """A picture's place in a sheet of several, px of the sheet."""

    x: int
    y: int
    rgb_sha1: str  # first 12 digits of the SHA-1 of its RGB bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture.

    where: its file below the set's folder, with its cell where it lies in a sheet; unique.
    label: index into the set's classes. patient: what may not be on two sides of a split; where
    the set does not say, each picture is its own. slide: where patients have several.
    magnification: total, a label. mpp: um/px. xy: top left corner as published. complete: all
    pictures of the patient are known to be here. size, sha256 (of the RGB bytes, rows first):
    None until somebody looked at the pixels.
    """

    where: str
    path: Path
    label: int
    patient: str
    subtype: str | None = None
    slide: str | None = None
    magnification: int | None = None
    mpp: float | None = None
    xy: tuple[int, int] | None = None
    complete: bool = False
    size: Size | None = None
    sha256: str | None = None
    cell: Cell | None = None


class Damage(NamedTuple):
    """A picture that cannot be read."""

    where: str
    reason: str


@dataclass(frozen=True)
class Pictures:
    """A labelled set whose pixels are still on disk.

    patients_known: false where `Item.patient` is the picture itself. largest_px: a side longer than
    this is no picture of the set, but a broken header.
    """

    folder: Path
    layout: str
    items: tuple[Item, ...]
    classes: tuple[str, ...]
    patients_known: bool = True
    largest_px: int = 16_384

    def __len__(self) -> int:
        return len(self.items)

    @property
    def is_idc(self) -> bool:
        """Tiles of whole slides, in either of the layouts that they are downloaded in."""
        return self.layout in IDC_LAYOUTS

    @cached_property
    def label(self) -> Int64Array:
        return np.array([item.label for item in self.items], np.int64)

    @cached_property
    def patient(self) -> npt.NDArray[np.str_]:
        return np.array([item.patient for item in self.items], np.str_)

    @cached_property
    def complete(self) -> BoolArray:
        return np.array([item.complete for item in self.items], np.bool_)

    @property
    def patients(self) -> list[str]:
        return sorted({item.patient for item in self.items})

    def select(self, chosen: BoolArray | Int64Array) -> Pictures:
        """chosen: a mask (n,), or indices."""
        index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return self.with_items([self.items[i] for i in index.tolist()])

    def of_patients(self, patients: Iterable[str]) -> Pictures:
        wanted = set(patients)
        return self.with_items([item for item in self.items if item.patient in wanted])

    def at_magnification(self, magnification: int) -> Pictures:
        """Raises DatasetError where there is none."""
        found = [item for item in self.items if item.magnification == magnification]
        if not found:
            known = sorted({item.magnification for item in self.items if item.magnification})
            have = ", ".join(map(str, known)) or "none that is stated"
            raise DatasetError(
                f"no picture of {self.folder} has magnification {magnification}; there is {have}"
            )
        return self.with_items(found)

    def with_items(self, items: Sequence[Item]) -> Pictures:
        return replace(self, items=tuple(items))


def refuse_damaged(folder: Path, damaged: Sequence[Damage], total: int) -> None:
    """Raises DatasetError that names them, where there are any."""
    if not damaged:
        return
    named = ", ".join(f"{where} ({reason})" for where, reason in damaged[:NAMED_FAILURES])
    more = f" and {len(damaged) - NAMED_FAILURES} more" if len(damaged) > NAMED_FAILURES else ""
    raise DatasetError(
        f"{len(damaged)} of {total} tiles in {folder} cannot be read: {named}{more}; "
        "remove them or copy them again"
    )
