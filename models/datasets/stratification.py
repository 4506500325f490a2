"""Splits by patient in which every part has the classes in the proportion of the whole set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.datasets import Pictures
from models.datasets.digests import identical
from models.errors import DatasetError
from models.split import LEFT_OUT, PARTS, PatientRow, Split

__all__ = ["SHARES", "draw_folds", "draw_stratified"]

SHARES: Mapping[str, float] = {"train": 0.65, "validation": 0.15, "test": 0.20}
TOLERANCE = 0.05
DRAWINGS = 48
LEAST_FOLDS = 3  # one to test, one to validate, one to train on
BY_PATIENT = "By patient"
BY_PICTURE = "By picture, since the set does not say of which patient a picture is"
METHOD = (
    "{unit}; patients that share identical pictures stay together. In the order of their size, "
    "shuffled where equal, each goes where its classes are short of their share most, by squares "
    "relative to the share; a part without a class gets its smallest from where there are most; of "
    "{drawings} drawings the one whose parts' class shares differ least "
    "from the set's ({deviation:.3f} at the most)."
)

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


def draw_stratified(
    pictures: Pictures,
    seed: int,
    *,
    shares: Mapping[str, float] = SHARES,
    tolerance: float = TOLERANCE,
) -> Split:
    """Each part has about its share of the pictures of each class.

    tolerance: how far the share of a class among the pictures of a part may be from its share in
    the set; 1 takes what there is, as long as every class is in the part "train". Identical
    pictures are known where somebody looked at the pixels: see digests.with_digests.
    Raises DatasetError where there is no such split.
    """
    if strange := set(shares) - set(PARTS):
        raise DatasetError(f"no part {strange.pop()!r}; parts are {', '.join(PARTS)}")
    if min(shares.values()) <= 0:
        raise DatasetError(f"shares {dict(shares)}: each part needs more than nothing")
    total = sum(shares.values())
    wanted = np.array([share / total for share in shares.values()])
    part, deviation = _draw(pictures, wanted, seed, tuple(shares), tolerance)
    names = list(shares)
    return _split(pictures, seed, [names[i] for i in part], deviation)


def draw_folds(
    pictures: Pictures, folds: int, seed: int, *, tolerance: float = TOLERANCE
) -> tuple[Split, ...]:
    """Cross-validation: of split i the i-th fold is the test part, the next one validation.

    As draw_stratified. Raises DatasetError.
    """
    if folds < LEAST_FOLDS:
        raise DatasetError(f"{folds} folds: use {LEAST_FOLDS} or more, to train, validate and test")
    names = tuple(f"fold {i}" for i in range(folds))
    part, deviation = _draw(pictures, np.full(folds, 1 / folds), seed, names, tolerance)
    return tuple(_fold(pictures, seed, part, deviation, i, folds) for i in range(folds))


def _fold(
    pictures: Pictures, seed: int, part: Int64Array, deviation: float, test: int, folds: int
) -> Split:
    roles = ["train"] * folds
    roles[test], roles[(test + 1) % folds] = "test", "validation"
    split = _split(pictures, seed, [roles[i] for i in part], deviation)
    return replace(split, method=f"Fold {test + 1} of {folds}. {split.method}")


def _draw(
    pictures: Pictures, wanted: FloatArray, seed: int, names: Sequence[str], tolerance: float
) -> tuple[Int64Array, float]:
    """The part of each patient, in the order of `pictures.patients`, and the deviation."""
    if seed < 0:
        raise DatasetError(f"seed {seed}: use 0 or more")
    group = _groups(pictures)
    counts = _counts(pictures)
    grouped = np.zeros((int(group.max()) + 1, counts.shape[1]))
    np.add.at(grouped, group, counts)
    if len(grouped) < len(names):
        raise DatasetError(
            f"{len(grouped)} patients cannot be dealt to {len(names)} parts ({', '.join(names)}); "
            "each part needs at least one patient that shares no picture with others"
        )
    rng = np.random.default_rng(seed)
    drawn = [_deal(grouped, wanted, rng) for _ in range(DRAWINGS)]
    scores = [_score(grouped, part, len(wanted)) for part in drawn]
    best = min(range(DRAWINGS), key=scores.__getitem__)
    _refuse(pictures, grouped, drawn[best], names, tolerance)
    return drawn[best][group], scores[best][1]


def _groups(pictures: Pictures) -> Int64Array:
    """Of each patient a number, the same for those that share a picture."""
    place = {patient: i for i, patient in enumerate(pictures.patients)}
    group = list(range(len(place)))
    for same in identical(pictures):
        shared = {group[place[pictures.items[i].patient]] for i in same}
        group = [min(shared) if number in shared else number for number in group]
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def _counts(pictures: Pictures) -> FloatArray:
    """Pictures of each patient by class: (patients, classes)."""
    patient = np.searchsorted(pictures.patients, pictures.patient)
    counts = np.zeros((len(pictures.patients), len(pictures.classes)))
    np.add.at(counts, (patient, pictures.label), 1)
    if empty := [name for name, n in zip(pictures.classes, counts.sum(0), strict=True) if not n]:
        raise DatasetError(
            f"{pictures.folder} has no picture of class {', '.join(empty)}; a split needs all of "
            f"{', '.join(pictures.classes)}"
        )
    return counts


def _deal(counts: FloatArray, wanted: FloatArray, rng: np.random.Generator) -> Int64Array:
    """METHOD says how: (groups,) of parts."""
    weight = 1 / (counts.sum(0) ** 2 * wanted[:, None])  # (parts, classes)
    lacking = wanted[:, None] * counts.sum(0)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    part = np.empty(len(counts), np.int64)
    for i in order:
        cost = (weight * counts[i] * (counts[i] - 2 * lacking)).sum(1)
        part[i] = cost.argmin()
        lacking[part[i]] -= counts[i]
    return _with_gaps_filled(counts, part, len(wanted))


def _with_gaps_filled(counts: FloatArray, part: Int64Array, parts: int) -> Int64Array:
    """A part without a class gets the smallest group that has it from where there are most."""
    part = part.copy()
    for lacking, label in np.argwhere(_by_part(counts, part, parts) == 0).tolist():
        holders = np.flatnonzero(counts[:, label] > 0)
        held = np.bincount(part[holders], minlength=parts)
        if held[lacking] == 0 and held.max() > 1:
            richest = holders[part[holders] == held.argmax()]
            part[richest[counts[richest].sum(1).argmin()]] = lacking
    return part


def _score(counts: FloatArray, part: Int64Array, parts: int) -> tuple[int, float]:
    """How many classes are absent from parts, and how far shares deviate; less is better."""
    by_part = _by_part(counts, part, parts)
    shares = by_part / np.maximum(by_part.sum(1, keepdims=True), 1)
    whole = counts.sum(0) / counts.sum()
    return int((by_part == 0).sum()), float(np.abs(shares - whole).max())


def _by_part(counts: FloatArray, part: Int64Array, parts: int) -> FloatArray:
    by_part = np.zeros((parts, counts.shape[1]))
    np.add.at(by_part, part, counts)
    return by_part


def _refuse(
    pictures: Pictures,
    counts: FloatArray,
    part: Int64Array,
    names: Sequence[str],
    tolerance: float,
) -> None:
    by_part = _by_part(counts, part, len(names))
    absent = [
        (names[i], pictures.classes[c])
        for i, c in np.argwhere(by_part == 0).tolist()
        if tolerance < 1 or names[i] == "train"
    ]
    if absent:
        where, missing = absent[0]
        patients = int((counts[:, pictures.classes.index(missing)] > 0).sum())
        raise DatasetError(
            f"class {missing} is of {patients} patients, and {where} gets none of it; each of "
            f"{', '.join(names)} needs a patient of it (tolerance 1 takes one that only train has)"
        )
    deviation = _score(counts, part, len(names))[1]
    if deviation > tolerance:
        raise DatasetError(
            f"the best split by patient has class shares that differ by {deviation:.3f} from the "
            f"set's, allowed is {tolerance:g}; allow more, or add patients"
        )


def _split(pictures: Pictures, seed: int, part: Sequence[str], deviation: float) -> Split:
    counts = _counts(pictures).astype(int)
    complete = {item.patient: item.complete for item in pictures.items}
    rows = tuple(
        PatientRow(patient, mine, complete[patient], int(n.sum()), classes=tuple(n.tolist()))
        for patient, mine, n in zip(pictures.patients, part, counts, strict=True)
    )
    unit = BY_PATIENT if pictures.patients_known else BY_PICTURE
    method = METHOD.format(unit=unit, drawings=DRAWINGS, deviation=deviation)
    return Split(seed, method, LEFT_OUT, rows, pictures.classes, pictures.patients_known)
