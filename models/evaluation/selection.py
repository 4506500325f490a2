"""Which pictures of a labelled set a model is evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets import TILE_PX, Labels, Pictures, open_data
from models.datasets.digests import with_digests
from models.datasets.stratification import draw_stratified
from models.errors import DatasetError
from models.split import IDC_SPLIT, PARTS, Split, read_split

__all__ = ["Selection", "is_complete", "select_pictures", "with_completeness"]

STEPS = ((-TILE_PX, 0), (TILE_PX, 0), (0, -TILE_PX), (0, TILE_PX))
LEAST_NEIGHBOURS = 2.5
"""The 21 slides that are known to be complete have 2.7 to 3.5. Of 195 sampled patients two with few
tiles have 1.9 and 2.3, all others 0.5 or less. Two with all tiles of one class alone have 3.2 and
3.6: those only the list tells."""
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
    if pictures.is_idc and not pictures.complete.any():
        pictures = with_completeness(pictures)
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


def with_completeness(pictures: Pictures) -> Pictures:
    """Folders of tiles do not say whose slide is there as a whole. A patient with as many tiles as
    the repository's list has is what the list says; any other is complete where its tiles lie side
    by side, as far as LEAST_NEIGHBOURS asks."""
    listed = {(row.patient, row.tiles): row.complete for row in read_split().rows}
    counts = Counter(pictures.patient.tolist())
    complete = {
        patient: listed.get((patient, count), neighbours >= LEAST_NEIGHBOURS)
        for (patient, count), neighbours in zip(
            sorted(counts.items()), _mean_neighbours(pictures), strict=True
        )
    }
    items = [replace(item, complete=complete[item.patient]) for item in pictures.items]
    return pictures.with_items(items)


def _mean_neighbours(pictures: Pictures) -> Iterator[float]:
    """Of each patient, by name: how many of a tile's four neighbours are there, a mean over its
    tiles."""
    places: dict[str, set[tuple[int, int]]] = {}
    for item in pictures.items:
        places.setdefault(item.patient, set()).add(item.xy or (0, 0))
    for _, tiles in sorted(places.items()):
        found = sum((x + dx, y + dy) in tiles for x, y in tiles for dx, dy in STEPS)
        yield found / len(tiles)


def _divide(
    pictures: Pictures, split: Path | None, part: str | None
) -> tuple[Split | None, str | None]:
    if split is not None:
        return read_split(split), split.name
    if pictures.is_idc:
        return read_split(), f"models/splits/{IDC_SPLIT.name}"
    if part is None:
        return None, None
    drawn = draw_stratified(with_digests(pictures), 0, tolerance=1.0)
    return drawn, DRAWN if pictures.patients_known else DRAWN_BY_PICTURE
