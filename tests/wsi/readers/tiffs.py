"""TIFFs that tests write: tifffile makes them, our readers read them."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray


def make_pixels(width: int, height: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, so that a shift by one pixel shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_tiff(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """One picture, tiled by 64 px unless `tile=None`."""
    options.setdefault("tile", (64, 64))
    if pixels.ndim == 3 and "photometric" not in options:
        options["photometric"] = "rgb"
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


def write_pyramid(
    path: Path,
    sizes: list[tuple[int, int]],
    *,
    mpp: float | None = 0.5,
    **options: Any,
) -> list[NDArray[np.uint8]]:
    """Levels of independent noise, so that none can be taken for another; returns them."""
    levels = [make_pixels(*size, seed=i) for i, size in enumerate(sizes)]
    if mpp is not None:
        options |= {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "centimeter"}
    with tifffile.TiffWriter(path) as file:
        for i, pixels in enumerate(levels):
            reduced = {"subfiletype": 1} if i else {}
            file.write(
                pixels, photometric="rgb", tile=(64, 64), metadata=None, **reduced, **options
            )
    return levels
