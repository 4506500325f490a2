"""Tables that tell of which slide patches are: `<slide>.patches.csv` beside the class folders."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from models.errors import DatasetError

__all__ = ["PatchRow", "patches_path", "read_patches", "write_patches"]

SUFFIX = ".patches.csv"


class PatchRow(NamedTuple):
    """folder: of its class. x0, y0: top left, level-0 px of the slide. mpp: um/px of the patch."""

    file: str
    folder: str
    slide: str
    x0: int
    y0: int
    mpp: float


def patches_path(photos: Path, slide: str) -> Path:
    return photos / f"{slide}{SUFFIX}"


def write_patches(path: Path, rows: Iterable[PatchRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(PatchRow._fields)
        writer.writerows(rows)


def read_patches(photos: Path, folders: Sequence[str]) -> dict[str, PatchRow]:
    """The rows of all tables there by file; empty where there is none. Raises DatasetError."""
    found: dict[str, PatchRow] = {}
    for path in sorted(photos.glob(f"*{SUFFIX}")):
        for row in _rows(path):
            if row.folder not in folders:
                raise DatasetError(
                    f"{path}: {row.file} has the class {row.folder!r}; use {', '.join(folders)}"
                )
            if row.file in found:
                raise DatasetError(f"{path} lists {row.file}, which is listed already; cut again")
            found[row.file] = row
    return found


def _rows(path: Path) -> list[PatchRow]:
    try:
        with path.open(newline="", encoding="utf-8") as table:
            reader = csv.DictReader(table)
            return [
                PatchRow(
                    row["file"], row["folder"], row["slide"],
                    int(row["x0"]), int(row["y0"]), float(row["mpp"]),
                )
                for row in reader
            ]  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"{path} is no table of patches ({error!r}); cut the slide again"
        ) from error
