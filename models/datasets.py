"""Labelled tiles on disk → arrays in memory.

Two layouts are read: the published one, a PNG a tile
(`<patient>/<class>/<patient>_idx5_x<X>_y<Y>_class<C>.png`), and the packed one, beside a
`tiles.csv` a lossless sheet for each patient, 64 cells a row.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError

__all__ = ["PUBLISHED_FOLDER", "TileSet", "load_tiles", "require_trainable"]

TILE_PX = 50
TILE_MPP = 4.0  # slides scanned at 40x, seen at 2.5x (Cruz-Roa et al. 2014); known to about a tenth
SHEET_COLUMNS = 64
BACKGROUND = 255
PUBLISHED_FOLDER = "IDC_regular_ps50_idx5"
TILE_NAME = re.compile(r"(?P<patient>.+)_idx5_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[01])\.png")
NUMBERS = ("label", "x", "y", "index", "width", "height")  # columns of a packed tiles.csv
NAMED_FAILURES = 5

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TileSet:
    """Tiles with their labels, patient by patient.

    rgb: uint8 (n, 50, 50, 3); a tile that was smaller lies top left on white.
    label: int64 (n,), 1 is IDC. patient: str (n,). xy: int64 (n, 2), top left corner as
    published: 1-based pixels at the tile's own scale, x is the column.
    complete: bool (n,), true where all tiles of the patient are known to be here.
    """

    rgb: UInt8Array
    label: Int64Array
    patient: npt.NDArray[np.str_]
    xy: Int64Array
    complete: BoolArray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def patients(self) -> list[str]:
        return sorted(set(self.patient.tolist()))

    def select(self, chosen: BoolArray | Int64Array) -> TileSet:
        """chosen: a mask (n,), or indices."""
        return TileSet(
            self.rgb[chosen],
            self.label[chosen],
            self.patient[chosen],
            self.xy[chosen],
            self.complete[chosen],
        )

    def of_patients(self, patients: Iterable[str]) -> TileSet:
        return self.select(np.isin(self.patient, sorted(patients)))


class _Tile(NamedTuple):
    patient: str
    label: int
    x: int
    y: int
    complete: bool


def load_tiles(folder: Path) -> TileSet:
    """Every tile below `folder`, in whichever of the two layouts it has.

    Raises DatasetError where there is no tile, or where some cannot be read; it names them.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; name the one that holds the patients")
    if (folder / "tiles.csv").is_file():
        return _read_packed(folder)
    return _read_published(folder)


def require_trainable(tiles: TileSet) -> None:
    """Raises DatasetError where a split by patient or a second class is impossible."""
    if len(tiles.patients) < 2:
        raise DatasetError(
            f"all {len(tiles)} tiles are of patient {', '.join(tiles.patients)}; "
            "training needs at least two patients, because the split is by patient"
        )
    for label in (0, 1):
        if not (tiles.label == label).any():
            raise DatasetError(
                f"none of the {len(tiles)} tiles is of class {label}; training needs both classes"
            )


def _read_published(folder: Path) -> TileSet:
    nested = folder / PUBLISHED_FOLDER
    found = _published_files(nested if nested.is_dir() else folder)
    if not found:
        raise DatasetError(
            f"{folder} holds no tile; expected <patient>/<0|1>/"
            "<patient>_idx5_x<X>_y<Y>_class<C>.png, or tiles.csv and its sheets"
        )
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(_read_png, [path for _, path in found]))
    _refuse_damaged(
        folder,
        [path.name for (_, path), rgb in zip(found, pixels, strict=True) if rgb is None],
        len(found),
    )
    return _stack([tile for tile, _ in found], [rgb for rgb in pixels if rgb is not None])


def _published_files(root: Path) -> list[tuple[_Tile, Path]]:
    """Files whose name is not a tile's are left alone; the class is the one in the name."""
    found = []
    for path in root.glob("*/[01]/*.png"):
        if match := TILE_NAME.fullmatch(path.name):
            x, y, label = (int(match[key]) for key in ("x", "y", "label"))
            found.append((_Tile(match["patient"], label, x, y, complete=False), path))
    return sorted(found)


def _read_png(path: Path) -> UInt8Array | None:
    """None where the file is damaged, so that all such files can be named together."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"))
    except Exception:  # decoders raise what the bytes make them raise
        return None
    return rgb if 0 < max(rgb.shape[:2]) <= TILE_PX else None


def _read_packed(folder: Path) -> TileSet:
    rows = _read_table(folder / "tiles.csv")
    by_patient: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_patient.setdefault(row["patient"], []).append(row)
    tiles, pixels, damaged = [], [], []
    for patient, listed in sorted(by_patient.items()):
        complete = all(row["complete"] == "1" for row in listed)
        sheet = _read_sheet(folder / f"{patient}.webp")
        for row in listed:
            rgb = _cell(sheet, row)
            if hashlib.sha1(rgb.tobytes()).hexdigest()[:12] != row["rgb_sha1"]:
                damaged.append(f"{patient}.webp, cell {row['index']}")
            label, x, y = (int(row[key]) for key in ("label", "x", "y"))
            tiles.append(_Tile(patient, label, x, y, complete))
            pixels.append(rgb)
    _refuse_damaged(folder, damaged, len(rows))
    return _stack(tiles, pixels)


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
    return rows


def _read_sheet(path: Path) -> UInt8Array:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders raise what the bytes make them raise
        raise DatasetError(
            f"{path} cannot be read ({error}); copy the data folder again"
        ) from error


def _cell(sheet: UInt8Array, row: dict[str, str]) -> UInt8Array:
    r, c = divmod(int(row["index"]), SHEET_COLUMNS)
    cell = sheet[r * TILE_PX : (r + 1) * TILE_PX, c * TILE_PX : (c + 1) * TILE_PX]
    return cell[: int(row["height"]), : int(row["width"])]


def _refuse_damaged(folder: Path, damaged: Sequence[str], total: int) -> None:
    if not damaged:
        return
    named = ", ".join(damaged[:NAMED_FAILURES])
    more = f" and {len(damaged) - NAMED_FAILURES} more" if len(damaged) > NAMED_FAILURES else ""
    raise DatasetError(
        f"{len(damaged)} of {total} tiles in {folder} cannot be read: {named}{more}; "
        "remove them or copy them again"
    )


def _stack(tiles: Sequence[_Tile], pixels: Sequence[UInt8Array]) -> TileSet:
    rgb = np.full((len(tiles), TILE_PX, TILE_PX, 3), BACKGROUND, np.uint8)
    for padded, tile_rgb in zip(rgb, pixels, strict=True):
        height, width = tile_rgb.shape[:2]
        padded[:height, :width] = tile_rgb
    return TileSet(
        rgb,
        np.array([tile.label for tile in tiles], np.int64),
        np.array([tile.patient for tile in tiles]),
        np.array([(tile.x, tile.y) for tile in tiles], np.int64).reshape(-1, 2),
        np.array([tile.complete for tile in tiles], np.bool_),
    )
