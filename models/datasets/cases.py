"""Case lists that others published: a file of patients for each part of a split."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.datasets import Labels
from models.errors import DatasetError
from models.split import LEFT_OUT, PARTS, PatientRow, Split

__all__ = ["read_cases"]

TITLES = ("patient", "case", "case_id", "patient_id", "id", "slide")


def read_cases(lists: Mapping[str, Path], data: Labels) -> Split:
    """lists: by part, a text file with a case a line, or a CSV whose column `patient` or `case`,
    else its first, holds them. A case is a patient's name, or that of a file that begins with it.

    Listed cases that are not in the data are passed over; patients of the data that no list holds
    are left out. Raises DatasetError where a case is in two lists, or a list has none of the data.
    """
    if strange := set(lists) - set(PARTS):
        raise DatasetError(f"no part {strange.pop()!r}; parts are {', '.join(PARTS)}")
    known = set(data.patients)
    part_of: dict[str, str] = {}
    absent = 0
    for part, path in lists.items():
        cases = _read_list(path)
        found = {patient for case in cases if (patient := _patient(case, known))}
        absent += len(cases) - len({case for case in cases if _patient(case, known)})
        _refuse_list(path, part, cases, found, part_of)
        part_of |= dict.fromkeys(found, part)
    names = ", ".join(f"{part}: {path.name}" for part, path in lists.items())
    method = f"Case lists ({names}); {absent} listed cases are not in the data."
    rows = tuple(_row(data, patient, part_of.get(patient, LEFT_OUT)) for patient in sorted(known))
    return Split(0, method, LEFT_OUT, rows)


def _refuse_list(
    path: Path, part: str, cases: list[str], found: set[str], part_of: Mapping[str, str]
) -> None:
    if not found:
        raise DatasetError(
            f"none of the {len(cases)} cases in {path} is in the data; a line is the name of a "
            "patient"
        )
    if both := sorted(found & set(part_of)):
        raise DatasetError(
            f"{len(both)} patients are listed for two parts, one is {both[0]} ({part_of[both[0]]} "
            f"and {part}); a patient belongs to one part"
        )


def _read_list(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(row)]
    except OSError as error:
        raise DatasetError(
            f"{path} is no list of cases: it cannot be read ({error.strerror}); name a file with a "
            "case a line"
        ) from error
    except (ValueError, csv.Error) as error:
        raise DatasetError(
            f"{path} is no list of cases: it is no text in UTF-8; use a file with a case a line"
        ) from error
    titles = [cell.lower() for cell in rows[0]] if rows else []
    column = next((titles.index(title) for title in TITLES if title in titles), None)
    if column is not None:
        rows = rows[1:]
    return [row[column or 0] for row in rows if len(row) > (column or 0)]


def _patient(case: str, known: set[str]) -> str | None:
    """8863, 8863.tif and 8863_idx5.png are patient 8863."""
    candidates = (case, Path(case).stem, re.split(r"[_.]", Path(case).name)[0])
    return next((name for name in candidates if name in known), None)


def _row(data: Labels, patient: str, part: str) -> PatientRow:
    mine = data.patient == patient
    counts = np.bincount(data.label[mine])
    return PatientRow(
        patient,
        part,
        bool(data.complete[mine].all()),
        int(mine.sum()),
        classes=tuple(counts.tolist()),
    )
