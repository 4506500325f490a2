"""BACH, the microscopy pictures of the ICIAR 2018 challenge: four classes, 2048 x 1536 px.

`ICIAR2018_BACH_Challenge/Photos/{Normal,Benign,InSitu,Invasive}/*.tif`, and beside the folders
`microscopy_ground_truth.csv` with a line `<file>,<class>` for each, without a title. Of which
patient a picture is, the challenge says of a part only, in a file that is not read. Aresta et al. 2019, doi 10.1016/j.media.2019.05.010.
"""

from __future__ import annotations

import csv
from pathlib import Path

from models.datasets.items import NAMED_FAILURES, Item, Pictures
from models.errors import DatasetError

__all__ = ["is_bach", "list_bach"]

FOLDERS = ("Normal", "Benign", "InSitu", "Invasive")  # by label
CLASSES = ("normal", "benign", "in_situ", "invasive")
TABLE = "microscopy_ground_truth.csv"
PHOTOS = ("ICIAR2018_BACH_Challenge/Photos", "Photos", ".")
PICTURE_MPP = 0.42  # as the challenge states


def is_bach(folder: Path) -> bool:
    return any((_photos(folder) / name).is_dir() for name in FOLDERS)


def list_bach(folder: Path) -> Pictures:
    """Raises DatasetError where the table is missing, or it and the folders contradict."""
    photos = _photos(folder)
    listed = _read_table(photos / TABLE)
    items = [
        Item(
            where=str(path.relative_to(folder)),
            path=path,
            label=_label(path, label, listed, photos / TABLE),
            patient=path.stem,
            mpp=PICTURE_MPP,
        )
        for label, name in enumerate(FOLDERS)
        for path in sorted((photos / name).glob("*.tif"))
    ]
    _refuse_absent(photos, listed, items)
    return Pictures(folder, "bach", tuple(items), CLASSES, patients_known=False)


def _photos(folder: Path) -> Path:
    return next((folder / part for part in PHOTOS if (folder / part).is_dir()), folder)


def _label(path: Path, label: int, listed: dict[str, int], table: Path) -> int:
    """The class that the folder and the table agree on."""
    if path.name not in listed:
        raise DatasetError(
            f"{table} does not list {path.parent.name}/{path.name}; add its line, or take the "
            "picture out"
        )
    if listed[path.name] != label:
        raise DatasetError(
            f"{path} lies in the folder {FOLDERS[label]}, but {table} calls it "
            f"{FOLDERS[listed[path.name]]}; set right the one that is wrong"
        )
    return label


def _read_table(path: Path) -> dict[str, int]:
    """Label by file name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            rows = [[cell.strip() for cell in row] for row in csv.reader(table) if any(row)]
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is missing; copy it from the download, it lies beside the four folders"
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path} is no table of pictures ({error}); copy it again") from error
    if rows and not rows[0][0].endswith(".tif"):
        rows = rows[1:]  # somebody gave the columns a title
    return {row[0]: _listed_label(path, row) for row in rows}


def _listed_label(path: Path, row: list[str]) -> int:
    if len(row) < 2 or row[1] not in FOLDERS:
        said = row[1] if len(row) > 1 else ""
        raise DatasetError(f"{path}: {row[0]} has the class {said!r}; use {', '.join(FOLDERS)}")
    return FOLDERS.index(row[1])


def _refuse_absent(photos: Path, listed: dict[str, int], items: list[Item]) -> None:
    absent = sorted(set(listed) - {item.path.name for item in items})
    if absent:
        named = ", ".join(absent[:NAMED_FAILURES]) + (" …" if len(absent) > NAMED_FAILURES else "")
        raise DatasetError(
            f"{len(absent)} pictures that {photos / TABLE} lists are not there: {named}; copy "
            "them again, or take out their lines"
        )
