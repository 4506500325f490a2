"""Tiles of invasive ductal carcinoma, as published, as packed, and in two folders.

Published: a PNG a tile, `<patient>/<class>/<patient>_idx5_x<X>_y<Y>_class<C>.png`. Packed: beside a
`tiles.csv` a lossless sheet for each patient, 64 cells a row. Two folders: `cancer` and
`not_cancer` with files of the published names, from which the patient is read.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from models.datasets.items import NAMED_FAILURES, Cell, Item, Pictures
from models.errors import DatasetError
from wsi.geometry import Size

__all__ = [
    "CLASSES",
    "PUBLISHED_FOLDER",
    "TILE_MPP",
    "TILE_PX",
    "is_idc",
    "is_two_folders",
    "list_idc",
    "list_two_folders",
]

TILE_PX = 50
TILE_MPP = 4.0  # slides scanned at 40x, seen at 2.5x (Cruz-Roa et al. 2014); known to about a tenth
SHEET_COLUMNS = 64
PUBLISHED_FOLDER = "IDC_regular_ps50_idx5"
TILE_NAME = re.compile(r"(?P<patient>.+)_idx5_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[01])\.png")
NUMBERS = ("label", "x", "y", "index", "width", "height")  # columns of a packed tiles.csv
CLASSES = ("non_idc", "idc")
TWO_FOLDERS = ("not_cancer", "cancer")  # by label


def is_idc(folder: Path) -> bool:
    return (folder / "tiles.csv").is_file() or any(
        TILE_NAME.fullmatch(path.name) for path in _published_root(folder).glob("*/[01]/*.png")
    )


def list_idc(folder: Path) -> Pictures:
    """Published or packed. Raises DatasetError where there is no tile."""
    packed = (folder / "tiles.csv").is_file()
    items = _list_packed(folder) if packed else _list_published(folder)
    return Pictures(folder, "idc", tuple(items), CLASSES, largest_px=TILE_PX)


def is_two_folders(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in TWO_FOLDERS)


def list_two_folders(folder: Path) -> Pictures:
    """Raises DatasetError where a folder is missing, or a name does not say its patient."""
    items = []
    for label, name in enumerate(TWO_FOLDERS):
        if not (folder / name).is_dir():
            raise DatasetError(
                f"{folder} has no folder {name}; this layout is the folders cancer and not_cancer "
                "with files <patient>_idx5_x<X>_y<Y>_class<C>.png"
            )
        items += _list_folder(folder, name, label)
    items.sort(key=_order)
    return Pictures(folder, "two-folders", tuple(items), TWO_FOLDERS, largest_px=TILE_PX)


def _list_folder(folder: Path, name: str, label: int) -> list[Item]:
    paths = sorted((folder / name).glob("*.png"))
    items = [item for path in paths if (item := _item_from_name(folder, path))]
    listed = {item.path for item in items}
    _refuse_names(
        [path for path in paths if path not in listed],
        f"files in {folder / name} have no IDC name, from which the patient is read",
        "name them <patient>_idx5_x<X>_y<Y>_class<C>.png",
    )
    _refuse_names(
        [item.path for item in items if item.label != label],
        f"files in {folder / name} have the other class in their name",
        "move them to the folder of their class",
    )
    return items


def _refuse_names(paths: list[Path], what: str, way_out: str) -> None:
    if paths:
        named = ", ".join(path.name for path in paths[:NAMED_FAILURES])
        more = " …" if len(paths) > NAMED_FAILURES else ""
        raise DatasetError(f"{len(paths)} {what}: {named}{more}; {way_out}")


def _published_root(folder: Path) -> Path:
    nested = folder / PUBLISHED_FOLDER
    return nested if nested.is_dir() else folder


def _list_published(folder: Path) -> list[Item]:
    """Files whose name is not a tile's are left alone; the class is the one in the name."""
    paths = _published_root(folder).glob("*/[01]/*.png")
    items = [item for path in paths if (item := _item_from_name(folder, path))]
    if not items:
        raise DatasetError(
            f"{folder} holds no tile; expected <patient>/<0|1>/"
            "<patient>_idx5_x<X>_y<Y>_class<C>.png, or tiles.csv and its sheets"
        )
    return sorted(items, key=_order)


def _item_from_name(folder: Path, path: Path) -> Item | None:
    match = TILE_NAME.fullmatch(path.name)
    if not match:
        return None
    return Item(
        where=str(path.relative_to(folder)),
        path=path,
        label=int(match["label"]),
        patient=match["patient"],
        mpp=TILE_MPP,
        xy=(int(match["x"]), int(match["y"])),
    )


def _order(item: Item) -> tuple[str, int, tuple[int, int] | None]:
    return item.patient, item.label, item.xy


def _list_packed(folder: Path) -> list[Item]:
    by_patient: dict[str, list[dict[str, str]]] = {}
    for row in _read_table(folder / "tiles.csv"):
        by_patient.setdefault(row["patient"], []).append(row)
    return [
        item
        for patient, rows in sorted(by_patient.items())
        for item in _packed_items(folder / f"{patient}.webp", patient, rows)
    ]


def _packed_items(sheet: Path, patient: str, rows: list[dict[str, str]]) -> Iterable[Item]:
    complete = all(row["complete"] == "1" for row in rows)
    for row in rows:
        label, x, y, index, width, height = (int(row[key]) for key in NUMBERS)
        r, c = divmod(index, SHEET_COLUMNS)
        yield Item(
            where=f"{sheet.name}, cell {index}",
            path=sheet,
            label=label,
            patient=patient,
            mpp=TILE_MPP,
            xy=(x, y),
            complete=complete,
            size=Size(width, height),
            cell=Cell(c * TILE_PX, r * TILE_PX, row["rgb_sha1"]),
        )


def _read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a packed layout's table, whose numbers are numbers."""
    try:
        with path.open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        for row in rows:
            _ = row["patient"], row["complete"], row["rgb_sha1"], [int(row[key]) for key in NUMBERS]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DatasetError(
            f"{path} is not the table of packed tiles ({type(error).__name__}: {error}); "
            "name the folder that holds the patients"
        ) from error
    if not rows:
        raise DatasetError(f"{path} lists no tile")
    for line, row in enumerate(rows, 2):  # below the titles
        if int(row["label"]) not in range(len(CLASSES)):
            raise DatasetError(
                f"{path}, line {line}: the label of a tile of patient {row['patient']} is "
                f"{row['label']}; use 0 ({CLASSES[0]}) or 1 ({CLASSES[1]})"
            )
    return rows
