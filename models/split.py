"""Which patient serves training, which validation, which test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from models.datasets import Labels, Pictures, TileSet
from models.datasets.digests import identical, with_digests
from models.errors import DatasetError
from wsi.store.folder import partial_file

__all__ = [
    "HALF_COMPLETE",
    "IDC_SPLIT",
    "LEFT_OUT",
    "PARTS",
    "PatientRow",
    "Split",
    "draw_split",
    "read_split",
    "require_apart",
    "require_tiles_apart",
    "write_split",
]

IDC_SPLIT = Path(__file__).parent / "splits" / "idc.json"
# All IDC tiles of these are here, but a sample of the others.
HALF_COMPLETE = frozenset({"8956", "8959"})
PARTS = ("train", "validation", "test")
LEFT_OUT = "none"
"""The part of a patient that a split does not use."""
SetOfLabels = TypeVar("SetOfLabels", bound=Labels)
SHARES: Mapping[str, tuple[float, float, float]] = {
    "sampled": (0.65, 0.15, 0.20),
    "complete": (0.58, 0.21, 0.21),
}
SIZE_BANDS = 4
GOLDEN = (5**0.5 - 1) / 2
HEAD: Mapping[str, type] = {
    "seed": int,
    "method": str,
    "unlisted": str,
    "classes": list,
    "patients_known": bool,
    "patients": list,
}
ROW: Mapping[str, type] = {
    "patient": str,
    "part": str,
    "complete": bool,
    "tiles": int,
    "idc_tiles": int,
    "classes": list,
}
OPTIONAL = frozenset({"classes", "patients_known", "idc_tiles"})
"""Of a split file's fields; the others are in every one."""
METHOD = (
    "By patient. Complete slides and sampled patients apart; within each, patients sorted by band "
    "of tile count (quartiles), then by IDC fraction; the i-th goes where frac(u + i * 0.618...) "
    "falls among the shares of train, validation and test, u drawn from the seed. A patient that "
    "is complete in one class only has a class balance of the packer's making: train."
)


@dataclass(frozen=True)
class PatientRow:
    """classes: pictures by class, where the set is not IDC."""

    patient: str
    part: str
    complete: bool
    tiles: int
    idc_tiles: int | None = None
    classes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Split:
    """unlisted: the part of a patient that is not in the list, or LEFT_OUT. classes: what the
    counts of its rows are of. patients_known: false where each picture counts as a patient."""

    seed: int
    method: str
    unlisted: str
    rows: tuple[PatientRow, ...]
    classes: tuple[str, ...] = ()
    patients_known: bool = True

    def patients(self, part: str, *, complete: bool | None = None) -> list[str]:
        """Listed patients of a part; only complete or only sampled ones where asked."""
        return [
            row.patient
            for row in self.rows
            if row.part == part and complete in (None, row.complete)
        ]

    def part_of(self, patient: str) -> str:
        return next((row.part for row in self.rows if row.patient == patient), self.unlisted)

    def parts_of(self, data: Labels) -> npt.NDArray[np.str_]:
        """Of each row its part: str (n,)."""
        part = {row.patient: row.part for row in self.rows}
        return np.array([part.get(patient, self.unlisted) for patient in data.patient.tolist()])

    def take(self, data: SetOfLabels, part: str, *, complete: bool | None = None) -> SetOfLabels:
        """The pictures of one part. Unlisted patients count as sampled."""
        wanted = set(self.patients(part, complete=complete))
        if self.unlisted == part and not complete:
            wanted |= set(data.patients) - {row.patient for row in self.rows}
        return data.of_patients(wanted)


def require_apart(pictures: Pictures, parts: Split | npt.NDArray[np.str_]) -> None:
    """Raises DatasetError where a patient, or two identical pictures, are on two sides.

    parts: a split, or the part of each picture, (n,). Where the pictures' digests are not known
    yet, all of them are decoded.
    """
    of_each = parts.parts_of(pictures) if isinstance(parts, Split) else parts
    used = of_each != LEFT_OUT
    inside, part = pictures.select(used), of_each[used].tolist()
    _refuse_shared_patients(inside, part)
    inside = with_digests(inside)
    for group in identical(inside):
        sides = {part[i]: inside.items[i].where for i in group}
        if len(sides) > 1:
            (one, first), (other, second) = sorted(sides.items())[:2]
            raise DatasetError(
                f"{first} ({one}) and {second} ({other}) have identical pixels, so what is "
                "measured on one side was learned on the other; leave one out, or draw anew"
            )


def require_tiles_apart(tiles: TileSet, split: Split) -> None:
    """Raises DatasetError where two identical tiles are on two sides; patients never are, because
    a split lists each once."""
    part = split.parts_of(tiles).tolist()
    first: dict[bytes, int] = {}
    for i, rgb in enumerate(tiles.rgb):
        other = first.setdefault(hashlib.sha256(rgb.tobytes()).digest(), i)
        if part[i] != part[other] and LEFT_OUT not in (part[i], part[other]):
            raise DatasetError(
                f"{_place(tiles, other)} ({part[other]}) and {_place(tiles, i)} ({part[i]}) are "
                "identical tiles, so what is measured on one side was learned on the other; leave "
                "one of the two patients out"
            )


def _place(tiles: TileSet, index: int) -> str:
    x, y = tiles.xy[index].tolist()
    return f"patient {tiles.patient[index]} x {x} y {y}"


def _refuse_shared_patients(pictures: Pictures, part: list[str]) -> None:
    sides: dict[str, Counter[str]] = {}
    for item, side in zip(pictures.items, part, strict=True):
        sides.setdefault(item.patient, Counter())[side] += 1
    shared = {patient: counts for patient, counts in sides.items() if len(counts) > 1}
    if shared:
        patient, counts = min(shared.items())
        told = ", ".join(f"{count} in {side}" for side, count in sorted(counts.items()))
        raise DatasetError(
            f"{len(shared)} patients are on two sides of the split, one is {patient} "
            f"(pictures: {told}); all pictures of a patient belong to one part"
        )


def draw_split(tiles: TileSet, seed: int, always_train: frozenset[str] = frozenset()) -> Split:
    """Stratified by kind of patient, tile count and IDC fraction (METHOD says how)."""
    if seed < 0:
        raise DatasetError(f"seed {seed}: use 0 or more")
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
        key=lambda row: (int(np.searchsorted(edges, row.tiles)), (row.idc_tiles or 0) / row.tiles),
    )
    position = (start + GOLDEN * np.arange(len(ordered))) % 1
    part = np.searchsorted(np.cumsum(shares[:-1]), position, side="right")
    return [
        PatientRow(row.patient, PARTS[i], row.complete, row.tiles, row.idc_tiles)
        for row, i in zip(ordered, part, strict=True)
    ]


def write_split(split: Split, path: Path) -> None:
    """One patient a line, so that a change is readable as a difference."""
    head: dict[str, Any] = {
        "seed": split.seed,
        "method": split.method,
        "unlisted": split.unlisted,
    }
    if split.classes:
        head |= {"classes": list(split.classes), "patients_known": split.patients_known}
    stated = ({k: v for k, v in asdict(row).items() if v is not None} for row in split.rows)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in stated)
    body = json.dumps(head, indent=1)[:-2]
    with partial_file(path) as partial:
        partial.write_text(f'{body},\n "patients": [\n{rows}\n ]\n}}\n')


def read_split(path: Path = IDC_SPLIT) -> Split:
    """Raises DatasetError where the file is no split, or a patient is in it twice."""
    record = _checked(path, _read_record(path), HEAD, "it")
    listed = (
        _checked(path, row, ROW, f"patient {i} of it") for i, row in enumerate(record["patients"])
    )
    rows = tuple(PatientRow(**_tuples(row)) for row in listed)
    split = Split(rows=rows, **_tuples({k: v for k, v in record.items() if k != "patients"}))
    if len({row.patient for row in rows}) < len(rows):
        raise DatasetError(f"{path} lists a patient twice; each patient has one part")
    if strange := {split.unlisted, *(row.part for row in rows)} - {*PARTS, LEFT_OUT}:
        raise DatasetError(f"{path} names the part {strange.pop()!r}; parts are {', '.join(PARTS)}")
    return split


def _read_record(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_split(path, f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _no_split(path, f"it is no JSON ({error})") from error


def _checked(path: Path, record: Any, kinds: Mapping[str, type], what: str) -> dict[str, Any]:
    """A JSON object with fields of these names and types, those of OPTIONAL or not."""
    if not isinstance(record, dict):
        raise _no_split(path, f"{what} is no JSON object")
    if strange := record.keys() - kinds.keys():
        raise _no_split(path, f"{what} has the unknown field {min(strange)!r:.40}")
    for name, kind in kinds.items():
        if name not in record and name not in OPTIONAL:
            raise _no_split(path, f"{what} lacks {name!r}")
        if name in record and not isinstance(record[name], kind):
            raise _no_split(path, f"{name!r} of {what} is {record[name]!r:.40}")
    return record


def _no_split(path: Path, why: str) -> DatasetError:
    return DatasetError(f"{path} is not a split file: {why}; `wsi data split` writes one")


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
