"""Peak memory of reading every tile of a slide, at 30,000 and 90,000 px a side.

    python -m benchmarks.memory [SIDE …]

The slide computes its pixels, so that only the tiler's own memory is measured; each side and
contract runs in a fresh process.
"""

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, Mpp, Scale, Size
from wsi.grid import TileGrid
from wsi.slide import Level, SlideInfo
from wsi.tiler import plan_tiles, read_tiles

SIDES = (30_000, 90_000)

CONTRACTS = {
    "50 px at 4 um/px": (50, 4.0, 50, (1, 4, 16)),
    "50 px at 4 um/px, only level 0": (50, 4.0, 50, (1,)),
    "256 px at 0.5 um/px": (256, 0.5, 256, (1, 4, 16)),
    "224 px at 0.7 um/px": (224, 0.7, 224, (1, 4, 16)),
    "256 px at 0.5 um/px, overlap 128": (256, 0.5, 128, (1, 4, 16)),
    "50 px at 4 um/px, overlap 25": (50, 4.0, 25, (1, 4, 16)),
}
"""Tile px, um/px, stride px, downsamples of the slide's levels (level 0: 0.25 um/px)."""


class ComputedSlide:
    """Noise that repeats every 512 px, cut from one picture: no pyramid is in memory."""

    def __init__(self, side: int, downsamples: tuple[int, ...]) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
        self._pattern = np.tile(noise, (4, 4, 1))
        levels = tuple(
            Level(Size(side // d, side // d), Scale(d, d), Size(256, 256)) for d in downsamples
        )
        self._info = SlideInfo("computed", "array", "array", levels[0].size, levels,
                               Mpp(0.25, 0.25), "caller")  # fmt: skip
        self._lock = threading.Lock()
        self.pixels_read = 0

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        with self._lock:
            self.pixels_read += box.width * box.height
        x, y = box.x % 512, box.y % 512
        return self._pattern[y : y + box.height, x : x + box.width].copy()

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


def measure(side: int, contract: str) -> dict[str, Any]:
    """In this process: its peak resident memory, before and after all tiles were read."""
    tile_px, mpp, stride_px, downsamples = CONTRACTS[contract]
    slide = ComputedSlide(side, downsamples)
    grid = TileGrid.over(
        slide.info.size, Mpp(0.25, 0.25), tile_px=tile_px, mpp=mpp, stride_px=stride_px
    )
    load_codecs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    plan = plan_tiles(slide.info, grid, np.argwhere(np.ones(grid.shape, bool)))
    tiles = sum(len(batch) for batch in read_tiles(slide, plan, batch_size=64, workers=2))
    return {
        "side_px": side,
        "contract": contract,
        "tiles": tiles,
        "level_px_read": slide.pixels_read,
        "seconds": round(time.perf_counter() - start, 1),
        "before_mib": round(before / 1024, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def load_codecs() -> None:
    """Imports what every run has in memory anyway, so that `before` counts it."""
    import cv2
    import scipy.sparse
    import zarr

    _ = cv2, scipy.sparse, zarr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", type=int, default=SIDES)
    parser.add_argument("--contract", choices=CONTRACTS, action="append")
    parser.add_argument("--one", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    for contract in arguments.contract or CONTRACTS:
        if arguments.one:
            print(json.dumps(measure(arguments.sides[0], contract)))
            continue
        peaks = []
        for side in arguments.sides:
            command = [sys.executable, "-m", "benchmarks.memory", str(side), "--one"]
            out = subprocess.check_output([*command, "--contract", contract], text=True)
            print(out.strip(), flush=True)
            peaks.append(json.loads(out)["peak_mib"])
        print(f"{contract}: peak grows by {100 * (peaks[-1] / peaks[0] - 1):.1f} %", flush=True)


if __name__ == "__main__":
    main()
