"""A slide of a scanner's size without its cost: a few JPEG tiles, stored again and again."""

from pathlib import Path

import numpy as np
import tifffile

TILE_PX, DISTINCT, LEVELS = 256, 8, 3


def write_repeated(path: Path, side_px: int) -> Path:
    """Levels of 1, 1/4 and 1/16 at 0.25 um/px, side_px a multiple of 4,096; eosin with noise."""
    import imagecodecs

    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 30, (DISTINCT, TILE_PX // 4, TILE_PX // 4, 1)).repeat(4, 1).repeat(4, 2)
    pixels = (np.array((215, 140, 180)) + coarse).clip(0, 255).astype(np.uint8)
    stored = [imagecodecs.jpeg8_encode(tile, level=80) for tile in pixels]
    with tifffile.TiffWriter(path) as file:
        for level in range(LEVELS):
            side = side_px >> (2 * level)
            file.write(
                (stored[i % DISTINCT] for i in range((side // TILE_PX) ** 2)),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=1 if level else 0,
                resolution=(1e4 / 0.25, 1e4 / 0.25),
                resolutionunit="centimeter",
                metadata=None,
            )
    return path
