"""Small sets of labelled tiles for tests, in memory and on disk."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from models.datasets import TileSet

COLOURS = {0: (230, 190, 210), 1: (120, 60, 140)}


def make_tiles(
    patients: tuple[str, ...] = ("1", "2", "3", "4"),
    per_class: int = 4,
    complete: tuple[str, ...] = (),
    seed: int = 0,
) -> TileSet:
    """Each patient has `per_class` pale tiles of class 0 and as many dark ones of class 1."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.repeat([0, 1], per_class), len(patients)).astype(np.int64)
    patient = np.repeat(np.array(patients), 2 * per_class)
    noise = rng.normal(0, 20, (len(label), 50, 50, 3))
    rgb = np.array([COLOURS[int(one)] for one in label])[:, None, None] + noise
    column = np.tile(np.arange(2 * per_class), len(patients))
    return TileSet(
        rgb.clip(0, 255).astype(np.uint8),
        label,
        patient,
        np.stack([50 * column + 1, np.ones_like(column)], 1).astype(np.int64),
        np.isin(patient, complete),
    )


def write_published(tiles: TileSet, root: Path) -> Path:
    """A PNG a tile, as the data set is published."""
    for rgb, label, patient, (x, y) in zip(
        tiles.rgb, tiles.label, tiles.patient, tiles.xy, strict=True
    ):
        folder = root / patient / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{patient}_idx5_x{x}_y{y}_class{label}.png"
        Image.fromarray(rgb).save(folder / name)
    return root


def write_packed(
    tiles: TileSet, root: Path, sizes: dict[int, tuple[int, int]] | None = None
) -> Path:
    """A lossless sheet a patient and a table. sizes: index of a tile → its (width, height)."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["patient,x,y,label,width,height,index,rgb_sha1,complete"]
    for patient in tiles.patients:
        mine = np.flatnonzero(tiles.patient == patient)
        sheet = np.zeros((50 * -(-len(mine) // 64), 50 * 64, 3), np.uint8)
        for index, i in enumerate(mine):
            width, height = (sizes or {}).get(int(i), (50, 50))
            row, column = divmod(index, 64)
            rgb = tiles.rgb[i, :height, :width]
            sheet[50 * row : 50 * row + height, 50 * column : 50 * column + width] = rgb
            digest = hashlib.sha1(rgb.tobytes()).hexdigest()[:12]
            x, y = tiles.xy[i]
            lines.append(
                f"{patient},{x},{y},{tiles.label[i]},{width},{height},{index},{digest},"
                f"{int(tiles.complete[i])}"
            )
        Image.fromarray(sheet).save(root / f"{patient}.webp", lossless=True)
    (root / "tiles.csv").write_text("\n".join(lines) + "\n")
    return root


def build_tiny(num_classes: int) -> nn.Module:
    """A network that learns in milliseconds; register it where a test trains."""
    body = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, pool, nn.Linear(8, num_classes))
