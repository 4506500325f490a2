"""What is in a labelled set, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from models.datasets import Damage, Item, Pictures
from models.datasets.digests import identical, seen
from models.datasets.reading import UInt8Array, map_pictures
from models.datasets.resemblance import Thumb, contradicting, thumb
from models.split import LEFT_OUT, PARTS, Split

__all__ = ["Alike", "DataReport", "examine"]

NAMED = 5  # of each kind, in the text; the JSON has all
MOST_ALIKE = 1000


@dataclass(frozen=True)
class Alike:
    """Pictures that are identical (or, of a pair, nearly so), with what is said of each."""

    pictures: tuple[str, ...]
    classes: tuple[str, ...]
    patients: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def contradicts(self) -> bool:
        return len(set(self.classes)) > 1

    @property
    def crosses_patients(self) -> bool:
        return len(set(self.patients)) > 1

    @property
    def crosses_parts(self) -> bool:
        return len(set(self.parts) - {LEFT_OUT}) > 1

    def __str__(self) -> str:
        return " = ".join(
            f"{where} ({name})"
            for where, name in zip(self.pictures[:NAMED], self.classes, strict=False)
        ) + (" …" if len(self.pictures) > NAMED else "")


@dataclass(frozen=True)
class DataReport:
    """Counts are of all pictures, damaged ones too. by_class and by_part: pictures and patients,
    and a part's pictures by class. by_patient: pictures by class; empty where nobody knows.
    sizes: pictures by "width x height", damaged ones in none. identical: of equal pixels.
    nearly_identical: pairs of different classes; none found proves nothing. notes: what a reader
    has to know. problems: what to mend before training.
    """

    folder: str
    layout: str
    classes: tuple[str, ...]
    patients_known: bool
    pictures: int
    patients: int
    complete_patients: int
    by_class: dict[str, dict[str, int]]
    by_subtype: dict[str, int]
    by_magnification: dict[str, int]
    by_patient: dict[str, dict[str, int]]
    by_part: dict[str, dict[str, int]]
    sizes: dict[str, int]
    damaged: tuple[Damage, ...]
    identical: tuple[Alike, ...]
    nearly_identical: tuple[Alike, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        damaged = [damage._asdict() for damage in self.damaged]
        return asdict(self) | {"damaged": damaged}

    def to_text(self) -> str:
        """The same for people, the patients in one line."""
        return "\n".join(
            [
                f"{self.folder}: {self.layout}, {self.pictures:,} pictures of {self._of_whom()}",
                "",
                *_table("class", self.by_class),
                *(["", *_table("part", self.by_part)] if self.by_part else []),
                "",
                *self._counts(),
                *(f"  {where}: {reason}" for where, reason in self.damaged[:NAMED]),
                *(["  …"] if len(self.damaged) > NAMED else []),
                *(f"\nnote: {note}" for note in self.notes),
                *(f"\nproblem: {problem}" for problem in self.problems),
            ]
        )

    def _of_whom(self) -> str:
        whole = f", {self.complete_patients} of them complete" if self.complete_patients else ""
        return f"{self.patients:,} patients{whole}" if self.patients_known else "unknown patients"

    def _counts(self) -> Iterator[str]:
        if self.by_patient:
            each = sorted(sum(counts.values()) for counts in self.by_patient.values())
            yield f"pictures a patient: {each[0]} to {each[-1]}, median {float(np.median(each)):g}"
        for name, counts in (
            ("subtypes", self.by_subtype),
            ("magnifications", self.by_magnification),
            ("sizes", dict(Counter(self.sizes).most_common(NAMED))),
        ):
            if counts:
                more = " …" if name == "sizes" and len(self.sizes) > NAMED else ""
                yield f"{name}: " + ", ".join(f"{k}: {n:,}" for k, n in counts.items()) + more
        copies = sum(len(group.pictures) - 1 for group in self.identical)
        yield f"identical pictures: {copies:,} copies in {len(self.identical):,} groups"
        yield f"damaged: {len(self.damaged):,}"


def examine(
    pictures: Pictures,
    split: Split | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Decodes every picture once. progress is told (done, all)."""
    items, thumbs, damaged = _look_at(pictures, progress)
    pictures = pictures.with_items(items)
    part = split.parts_of(pictures).tolist() if split else [LEFT_OUT] * len(pictures)
    groups = identical(pictures)
    same = tuple(_alike(pictures, part, group) for group in groups)
    pairs = islice(contradicting(thumbs, pictures.label, groups), MOST_ALIKE)
    near = tuple(_alike(pictures, part, list(pair)) for pair in pairs)
    by_part = _by_part(part, pictures) if split else {}
    return DataReport(
        folder=str(pictures.folder),
        layout=pictures.layout,
        classes=pictures.classes,
        patients_known=pictures.patients_known,
        pictures=len(pictures),
        patients=len(pictures.patients),
        complete_patients=len(set(pictures.patient[pictures.complete].tolist())),
        by_class=_by_class(pictures),
        by_subtype=_counted(item.subtype for item in items),
        by_magnification=_counted(item.magnification for item in items),
        by_patient=_by_patient(pictures),
        by_part=by_part,
        sizes=_counted(_size(item) for item in items),
        damaged=tuple(damaged),
        identical=same,
        nearly_identical=near,
        notes=tuple(_notes(pictures, split, by_part)),
        problems=tuple(_problems(pictures, damaged, same, near)),
    )


def _look_at(
    pictures: Pictures, progress: Callable[[int, int], None] | None
) -> tuple[list[Item], list[Thumb | None], list[Damage]]:
    items, thumbs, damaged = list(pictures.items), list[Thumb | None](), list[Damage]()
    for i, found in enumerate(map_pictures(pictures, _look)):
        if isinstance(found, Damage):
            damaged.append(found)
            thumbs.append(None)
        else:
            items[i] = found[0]
            thumbs.append(found[1])
        if progress is not None:
            progress(i + 1, len(items))
    return items, thumbs, damaged


def _look(item: Item, rgb: UInt8Array) -> tuple[Item, Thumb]:
    return seen(item, rgb), thumb(rgb)


def _alike(pictures: Pictures, part: list[str], group: list[int]) -> Alike:
    items = [pictures.items[i] for i in group]
    return Alike(
        tuple(item.where for item in items),
        tuple(pictures.classes[item.label] for item in items),
        tuple(item.patient for item in items),
        tuple(part[i] for i in group),
    )


def _by_class(pictures: Pictures) -> dict[str, dict[str, int]]:
    counts = {}
    for label, name in enumerate(pictures.classes):
        mine = pictures.label == label
        patients = len(set(pictures.patient[mine].tolist()))
        counts[name] = {"pictures": int(mine.sum()), "patients": patients}
    return counts


def _by_patient(pictures: Pictures) -> dict[str, dict[str, int]]:
    if not pictures.patients_known:
        return {}
    counts = Counter(zip(pictures.patient.tolist(), pictures.label.tolist(), strict=True))
    return {
        patient: {name: counts[patient, label] for label, name in enumerate(pictures.classes)}
        for patient in pictures.patients
    }


def _by_part(part: list[str], pictures: Pictures) -> dict[str, dict[str, int]]:
    counted = {}
    for name in (*PARTS, LEFT_OUT):
        mine = pictures.select(np.array(part) == name)
        if len(mine):
            classes = np.bincount(mine.label, minlength=len(pictures.classes)).tolist()
            counted[name] = {
                "pictures": len(mine),
                "patients": len(mine.patients),
                **dict(zip(pictures.classes, classes, strict=True)),
            }
    return counted


def _counted(values: Iterator[str | int | None]) -> dict[str, int]:
    counts = Counter(value for value in values if value is not None)
    return {str(value): counts[value] for value in sorted(counts, key=lambda v: (str(type(v)), v))}


def _size(item: Item) -> str | None:
    return f"{item.size.width} x {item.size.height}" if item.sha256 and item.size else None


def _table(title: str, rows: dict[str, dict[str, int]]) -> Iterator[str]:
    columns = list(next(iter(rows.values())))
    wide = max(map(len, [title, *rows])) + 2
    widths = [max(len(column), 9) + 2 for column in columns]
    head = (f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))
    yield f"{title:<{wide}}" + "".join(head)
    for name, counts in rows.items():
        cells = (f"{counts[c]:>{width},}" for c, width in zip(columns, widths, strict=True))
        yield f"{name:<{wide}}" + "".join(cells)


def _notes(
    pictures: Pictures, split: Split | None, by_part: dict[str, dict[str, int]]
) -> Iterator[str]:
    if not pictures.patients_known:
        yield (
            "of which patient a picture is, this set does not say: a split of it is by picture, "
            "one patient may be on two sides, and what is measured may be too good"
        )
    if split and LEFT_OUT in by_part:
        yield f"{by_part[LEFT_OUT]['pictures']:,} pictures are in no part of the split"


def _problems(
    pictures: Pictures,
    damaged: list[Damage],
    same: tuple[Alike, ...],
    near: tuple[Alike, ...],
) -> Iterator[str]:
    if len(pictures.patients) < 2:
        yield "all pictures are of one patient; a split by patient needs two at least"
    for name, counts in _by_class(pictures).items():
        if not counts["pictures"]:
            yield f"class {name} has no picture"
    if damaged:
        yield f"{len(damaged):,} pictures cannot be read; remove them or copy them again"
    yield from _told("groups of identical pictures have different classes", same, "contradicts")
    yield from _told(
        "pairs of nearly identical pictures have different classes", near, "contradicts"
    )
    yield from _told(
        "groups of identical pictures are on two sides of the split", same, "crosses_parts"
    )
    if pictures.patients_known:
        yield from _told(
            "groups of identical pictures are of different patients", same, "crosses_patients"
        )


def _told(what: str, groups: tuple[Alike, ...], claim: str) -> Iterator[str]:
    found = [group for group in groups if getattr(group, claim)]
    if found:
        yield (
            f"{len(found):,} {what}: "
            + "; ".join(map(str, found[:NAMED]))
            + (" …" if len(found) > NAMED else "")
        )
