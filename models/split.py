"""Which patient serves training, which validation, which test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.datasets import TileSet
from models.errors import DatasetError
from wsi.store.folder import partial_file

__all__ = [
    "HALF_COMPLETE",
    "IDC_SPLIT",
    "PARTS",
    "PatientRow",
    "Split",
    "draw_split",
    "read_split",
    "write_split",
]

IDC_SPLIT = Path(__file__).parent / "splits" / "idc.json"
# All IDC tiles of these are here, but a sample of the others.
HALF_COMPLETE = frozenset({"8956", "8959"})
PARTS = ("train", "validation", "test")
SHARES: Mapping[str, tuple[float, float, float]] = {
    "sampled": (0.65, 0.15, 0.20),
    "complete": (0.58, 0.21, 0.21),
}
SIZE_BANDS = 4
GOLDEN = (5**0.5 - 1) / 2
METHOD = (
    "By patient. Complete slides and sampled patients apart; within each, patients sorted by band "
    "of tile count (quartiles), then by IDC fraction; the i-th goes where frac(u + i * 0.618...) "
    "falls among the shares of train, validation and test, u drawn from the seed. A patient that "
    "is complete in one class only has a class balance of the packer's making: train."
)


@dataclass(frozen=True)
class PatientRow:
    patient: str
    part: str
    complete: bool
    tiles: int
    idc_tiles: int


@dataclass(frozen=True)
class Split:
    """unlisted: the part of a patient that is not in the list."""

    seed: int
    method: str
    unlisted: str
    rows: tuple[PatientRow, ...]

    def patients(self, part: str, *, complete: bool | None = None) -> list[str]:
        """Listed patients of a part; only complete or only sampled ones where asked."""
        return [
            row.patient
            for row in self.rows
            if row.part == part and complete in (None, row.complete)
        ]

    def part_of(self, patient: str) -> str:
        return next((row.part for row in self.rows if row.patient == patient), self.unlisted)

    def take(self, tiles: TileSet, part: str, *, complete: bool | None = None) -> TileSet:
        """The tiles of one part. Unlisted patients count as sampled."""
        wanted = set(self.patients(part, complete=complete))
        if self.unlisted == part and not complete:
            wanted |= set(tiles.patients) - {row.patient for row in self.rows}
        return tiles.of_patients(wanted)


def draw_split(tiles: TileSet, seed: int, always_train: frozenset[str] = frozenset()) -> Split:
    """Stratified by kind of patient, tile count and IDC fraction (METHOD says how)."""
    rows = [_count(tiles, patient) for patient in tiles.patients]
    rng = np.random.default_rng(seed)
    drawn = [row for row in rows if row.patient in always_train]
    for kind, shares in SHARES.items():
        members = [
            row
            for row in rows
            if row.complete == (kind == "complete") and row.patient not in always_train
        ]
        drawn += _deal(members, shares, rng.random())
    return Split(seed, METHOD, "train", tuple(sorted(drawn, key=lambda row: row.patient)))


def _count(tiles: TileSet, patient: str) -> PatientRow:
    mine = tiles.patient == patient
    return PatientRow(
        patient,
        "train",
        bool(tiles.complete[mine].all()),
        int(mine.sum()),
        int(tiles.label[mine].sum()),
    )


def _deal(
    rows: list[PatientRow], shares: tuple[float, float, float], start: float
) -> list[PatientRow]:
    """Golden-ratio steps spread each part evenly along the sorted list."""
    if not rows:
        return []
    edges = np.quantile([row.tiles for row in rows], np.linspace(0, 1, SIZE_BANDS + 1)[1:-1])
    ordered = sorted(
        rows,
        key=lambda row: (int(np.searchsorted(edges, row.tiles)), row.idc_tiles / row.tiles),
    )
    position = (start + GOLDEN * np.arange(len(ordered))) % 1
    part = np.searchsorted(np.cumsum(shares[:-1]), position, side="right")
    return [
        PatientRow(row.patient, PARTS[i], row.complete, row.tiles, row.idc_tiles)
        for row, i in zip(ordered, part, strict=True)
    ]


def write_split(split: Split, path: Path) -> None:
    """One patient a line, so that a change is readable as a difference."""
    head = {"seed": split.seed, "method": split.method, "unlisted": split.unlisted}
    rows = ",\n".join(f"  {json.dumps(asdict(row))}" for row in split.rows)
    body = json.dumps(head, indent=1)[:-2]
    with partial_file(path) as partial:
        partial.write_text(f'{body},\n "patients": [\n{rows}\n ]\n}}\n')


def read_split(path: Path = IDC_SPLIT) -> Split:
    """Raises DatasetError where the file is no split, or a patient is in it twice."""
    try:
        record = json.loads(path.read_text())
        rows = tuple(PatientRow(**row) for row in record["patients"])
        split = Split(record["seed"], record["method"], record["unlisted"], rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a split file ({error})") from error
    if len({row.patient for row in rows}) < len(rows):
        raise DatasetError(f"{path} lists a patient twice; each patient has one part")
    if strange := {row.part for row in rows} - set(PARTS):
        raise DatasetError(f"{path} names the part {strange.pop()!r}; parts are {', '.join(PARTS)}")
    return split
