"""Which pictures of a labelled set a model is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets import Labels, Pictures, open_data
from models.datasets.digests import with_digests
from models.datasets.stratification import draw_stratified
from models.errors import DatasetError
from models.split import IDC_SPLIT, PARTS, Split, read_split

__all__ = ["IDC_LAYOUTS", "Selection", "is_complete", "select_pictures"]

IDC_LAYOUTS = ("idc", "two-folders")
DRAWN = "drawn by patient, as recipes draw it: seed 0"
DRAWN_BY_PICTURE = "drawn by picture, as recipes draw it: seed 0; patients are not known"


@dataclass(frozen=True)
class Selection:
    """pictures: those to be scored. part, split_name: for the record."""

    pictures: Pictures
    split: Split | None
    split_name: str | None
    part: str | None


def select_pictures(
    data: Path,
    *,
    part: str | None = None,
    complete: bool | None = None,
    split: Path | None = None,
    layout: str | None = None,
    magnification: int | None = None,
    subtypes: bool = False,
) -> Selection:
    """complete: only patients whose whole slide is there (True), or only a sample (False).

    split: a file; None is the repository's for IDC tiles, and for others, where a part is asked
    for, the split that the recipes draw. Raises DatasetError.
    """
    if part is not None and part not in PARTS:
        raise DatasetError(f"part {part!r}: use {', '.join(PARTS)}")
    pictures = open_data(data, layout, magnification=magnification, subtypes=subtypes)
    divided, name = _divide(pictures, split, part)
    taken = pictures if part is None or divided is None else divided.take(pictures, part)
    if complete is not None:
        taken = taken.select(is_complete(taken) == complete)
    if not len(taken):
        kind = {None: "", True: "complete ", False: "sampled "}[complete]
        where = f" in the part {part!r} of the split" if part else ""
        raise DatasetError(f"no {kind}patient of {data} is{where or ' there'}")
    return Selection(taken, divided, name, part)


def is_complete(data: Labels) -> NDArray[np.bool_]:
    """Of each picture, whether all of its patient's are known to be there: bool (n,)."""
    partly = np.unique(data.patient[~data.complete])
    return ~np.isin(data.patient, partly)


def _divide(
    pictures: Pictures, split: Path | None, part: str | None
) -> tuple[Split | None, str | None]:
    if split is not None:
        return read_split(split), split.name
    if pictures.layout in IDC_LAYOUTS:
        return read_split(), f"models/splits/{IDC_SPLIT.name}"
    if part is None:
        return None, None
    drawn = draw_stratified(with_digests(pictures), 0, tolerance=1.0)
    return drawn, DRAWN if pictures.patients_known else DRAWN_BY_PICTURE
