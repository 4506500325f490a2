"""Slides painted with known values, tile by tile, and the model that reads them back."""

import json
import math
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from models.card import write_card
from models.painted import painted_card

__all__ = ["paint", "write_model", "write_slide"]

PAPER = 255


def paint(values: NDArray[np.uint8], stride0: float, width: int, height: int) -> NDArray[np.uint8]:
    """Red is values[row, column] on the pixels from floor(column * stride0 + 0.5) to the next;
    green is 0, blue 128: everything is tissue."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 2] = 128
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            top, bottom = (math.floor(i * stride0 + 0.5) for i in (row, row + 1))
            left, right = (math.floor(i * stride0 + 0.5) for i in (column, column + 1))
            rgb[top:bottom, left:right, 0] = values[row, column]
    return rgb


def write_slide(path: Path, levels: list[NDArray[np.uint8]], mpp: float) -> Path:
    """A lossless tiled pyramid that states its resolution in its TIFF tags."""
    with tifffile.TiffWriter(path) as tiff:
        for number, rgb in enumerate(levels):
            factor = levels[0].shape[1] / rgb.shape[1]
            tiff.write(
                rgb,
                tile=(256, 256),
                photometric="rgb",
                compression="zlib",
                subfiletype=1 if number else 0,
                resolution=(1e4 / (mpp * factor), 1e4 / (mpp * factor)),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def write_model(folder: Path, tile_px: int = 16, mpp: float = 4.0) -> str:
    """A model's folder, for --model: the probability is the mean red / 255."""
    folder.mkdir(parents=True, exist_ok=True)
    write_card(painted_card(tile_px, mpp), folder / "card.json")
    assert json.loads((folder / "card.json").read_text())["architecture"] == "mean-channel"
    return str(folder)
