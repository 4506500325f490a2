"""The tiles of invasive ductal carcinoma as arrays in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.datasets.idc import TILE_PX, is_two_folders
from models.datasets.items import BoolArray, Damage, Int64Array, Pictures, refuse_damaged
from models.datasets.layouts import open_data
from models.datasets.reading import UInt8Array, map_pictures

__all__ = ["TileSet", "load_tiles"]

BACKGROUND = 255


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

    def batch(self, index: Int64Array) -> UInt8Array:
        return self.rgb[index]

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


def load_tiles(folder: Path) -> TileSet:
    """Every tile below `folder`, in whichever of the IDC layouts it has.

    Raises DatasetError where there is no tile, or where some cannot be read; it names them.
    """
    return _stack(open_data(folder, None if is_two_folders(folder) else "idc"))


def _stack(pictures: Pictures) -> TileSet:
    rgb = np.full((len(pictures), TILE_PX, TILE_PX, 3), BACKGROUND, np.uint8)
    damaged = []
    for padded, tile_rgb in zip(rgb, map_pictures(pictures, lambda _, rgb: rgb), strict=True):
        if isinstance(tile_rgb, Damage):
            damaged.append(tile_rgb)
        else:
            padded[: tile_rgb.shape[0], : tile_rgb.shape[1]] = tile_rgb
    refuse_damaged(pictures.folder, damaged, len(pictures))
    xy = [item.xy for item in pictures.items]
    return TileSet(
        rgb,
        pictures.label,
        pictures.patient,
        np.array(xy, np.int64).reshape(-1, 2),
        pictures.complete,
    )
