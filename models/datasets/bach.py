"""BACH, the microscopy pictures of the ICIAR 2018 challenge: four classes, 2048 x 1536 px.

`ICIAR2018_BACH_Challenge/Photos/{Normal,Benign,InSitu,Invasive}/*.tif`, and beside the folders
`microscopy_ground_truth.csv` with a line `<file>,<class>` for each, without a title. Of which
patient a picture is, the challenge says of a part only, in a file that is not read. Aresta et al.
2019, doi 10.1016/j.media.2019.05.010.

Patches of the annotated whole slides (`wsi data patches`) lie in the same folders as `*.png`, with
a table `<slide>.patches.csv` a slide: there the slide is the patient. Where pictures lie beside
them patients are not known: nobody says of which slides these are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from models.datasets.items import NAMED_FAILURES, Item, Pictures
from models.datasets.patch_table import PatchRow, read_patches
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
    """Raises DatasetError where a table is missing, or one and the folders contradict."""
    photos = _photos(folder)
    patches = read_patches(photos, FOLDERS)
    has_pictures = not patches or any(photos.glob("*/*.tif"))
    pictures = _list_pictures(folder, photos) if has_pictures else []
    items = (*pictures, *_list_patches(folder, photos, patches))
    return Pictures(folder, "bach", items, CLASSES, patients_known=not has_pictures)


def _list_pictures(folder: Path, photos: Path) -> list[Item]:
    listed = _read_table(photos / TABLE)
    items = [
        Item(
            where=str(path.relative_to(folder)),
            path=path,
            label=_label(path, label, listed, photos / TABLE),
            patient=path.stem,
            mpp=PICTURE_MPP,
        )
        for label, path in _files(photos, "*.tif")
    ]
    _refuse_absent(photos / TABLE, listed, items)
    return items


def _list_patches(folder: Path, photos: Path, patches: dict[str, PatchRow]) -> list[Item]:
    listed = {file: FOLDERS.index(row.folder) for file, row in patches.items()}
    tables = photos / "*.patches.csv"
    items = []
    for folders_label, path in _files(photos, "*.png") if patches else ():
        label = _label(path, folders_label, listed, tables)
        row = patches[path.name]
        where, xy = str(path.relative_to(folder)), (row.x0, row.y0)
        items.append(Item(where, path, label, row.slide, slide=row.slide, mpp=row.mpp, xy=xy))
    _refuse_absent(tables, listed, items)
    return items


def _files(photos: Path, pattern: str) -> Iterator[tuple[int, Path]]:
    """With the label of their folder."""
    for label, name in enumerate(FOLDERS):
        for path in sorted((photos / name).glob(pattern)):
            yield label, path


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


def _refuse_absent(table: Path, listed: dict[str, int], items: list[Item]) -> None:
    absent = sorted(set(listed) - {item.path.name for item in items})
    if absent:
        named = ", ".join(absent[:NAMED_FAILURES]) + (" …" if len(absent) > NAMED_FAILURES else "")
        raise DatasetError(
            f"{len(absent)} pictures that {table} lists are not there: {named}; copy "
            "them again, or take out their lines"
        )
