"""Reading all tissue tiles of a slide: this reader, OpenSlide and tiffslide, against the floor.

    python -m benchmarks.reading [--size 20000 | --slide PATH …] [--mpp MPP] [--json FILE]

The floor is every native tile that the tiles need, decoded once by imagecodecs from bytes that are
in memory, by all cores, into a buffer that each core reuses. `plain floor` is the same call without
a buffer, as most would write it: new memory for each tile. Rounds of all of them alternate, and the
fastest of each counts, so that what else the machine does makes no ratio better.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tiffslide
from numpy.typing import NDArray

from benchmarks.slide import _draw
from models.network import fitting_batch
from service.tissue import lay_tiles
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.base import BaseSlide
from wsi.readers.tiff import TiledTiffSlide
from wsi.slide import Slide
from wsi.tiler import TilePlan, plan_tiles, read_tiles

__all__ = ["main", "measure_reading"]

CONTRACTS = {
    "256 px at 0.5 um/px": (256, 0.5),
    "50 px at 4 um/px": (50, 4.0),
    "224 px at 0.7 um/px": (224, 0.7),
}
ROUNDS = 5
SCRATCH_OFFSET = 16  # bytes off 64: libjpeg-turbo decodes past the caches into aligned memory


class PlainTiffSlide(BaseSlide):
    """tiffslide as it is, asked for boxes of a level; info is another reader's."""

    def __init__(self, slide: Slide) -> None:
        super().__init__(slide.info)
        self._handle = tiffslide.TiffSlide(slide.info.path)

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        down = self._info.levels[level].downsample
        xy0 = (round(box.x * down.x), round(box.y * down.y))
        size = (box.width, box.height)
        return np.asarray(self._handle.read_region(xy0, level, size, as_array=True))

    def _release(self) -> None:
        self._handle.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000, help="side of the phantom, px")
    parser.add_argument("--slide", type=Path, action="append", help="instead of the phantom")
    parser.add_argument("--mpp", type=float, help="of slides that do not state it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slides = options.slide or [_draw(Path(folder, "phantom.tiff"), options.size)]
        found = [
            measure_reading(slide, contract, options.mpp, options.rounds)
            for slide in slides
            for contract in CONTRACTS
        ]
    for facts in found:
        print("\n".join(f"{name:<28} {value}" for name, value in facts.items()), end="\n\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def measure_reading(path: Path, contract: str, mpp: float | None, rounds: int) -> dict[str, Any]:
    tile_px, tile_mpp = CONTRACTS[contract]
    with (
        open_slide(path, mpp, "tiff") as slide,
        open_slide(path, mpp, "openslide") as by_openslide,
        PlainTiffSlide(slide) as by_tiffslide,
    ):
        plan = lay_tiles(
            slide, tile_px=tile_px, mpp=tile_mpp, stride_px=None,
            mask="saturation", min_tissue=0.5, upsample=False,
        ).plan  # fmt: skip
        if not isinstance(slide, TiledTiffSlide):
            raise TypeError(f"{path}: no slide of the native reader")
        work = {
            "floor": _decoding(slide, plan, reuse=True),
            "plain floor": _decoding(slide, plan, reuse=False),
            "this reader": lambda: _read_all(slide, plan),
            "OpenSlide": lambda: _read_all(by_openslide, plan),
            "tiffslide": lambda: _read_all(by_tiffslide, plan),
        }
        seconds, core_seconds = _fastest(work, rounds)
        return _facts(slide, contract, plan, seconds, core_seconds)


def _facts(
    slide: Slide,
    contract: str,
    plan: TilePlan,
    seconds: dict[str, float],
    core_seconds: dict[str, float],
) -> dict[str, Any]:
    ours = seconds["this reader"]
    ratio = core_seconds["floor"] / core_seconds["this reader"]
    return {
        "slide": f"{slide.info.name}, {contract}, level {plan.level}",
        "tiles": len(plan),
        "native tiles": plan.native_tiles,
        **{f"{name}, s": round(value, 4) for name, value in seconds.items()},
        "floor / this reader": round(seconds["floor"] / ours, 3),
        "the same in core-seconds": round(ratio, 3),
        "plain floor / this reader": round(seconds["plain floor"] / ours, 3),
        "OpenSlide / this reader": round(seconds["OpenSlide"] / ours, 2),
        "tiffslide / this reader": round(seconds["tiffslide"] / ours, 2),
    }


def _fastest(
    work: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Least seconds by the clock and least core-seconds, by name."""
    seconds = dict.fromkeys(work, float("inf"))
    core_seconds = dict(seconds)
    for _ in range(rounds):
        for name, run in work.items():
            began, began_core = time.perf_counter(), time.process_time()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
            core_seconds[name] = min(core_seconds[name], time.process_time() - began_core)
    return seconds, core_seconds


def _read_all(slide: Slide, plan: TilePlan) -> int:
    own = plan_tiles(slide.info, plan.grid, plan.indices)
    # as many as the network takes on a CPU: more are memory that is zeroed first
    size = fitting_batch(plan.grid.tile_px, "cpu")
    return sum(len(batch) for batch in read_tiles(slide, own, batch_size=size))


def _decoding(slide: TiledTiffSlide, plan: TilePlan, *, reuse: bool) -> Callable[[], object]:
    """Decodes the tiles that the plan needs, of which the bytes are read now."""
    import imagecodecs

    ifd = slide.ifds[plan.level]
    data = list(_stored(slide, plan))
    colours = "YCBCR" if ifd.photometric == 6 else "RGB"
    options = {"tables": ifd.jpeg_tables or None, "colorspace": colours, "outcolorspace": "RGB"}
    local = threading.local()
    is_jpeg = ifd.compression == 7

    def decode(tile: bytes) -> None:
        if reuse and not hasattr(local, "out"):
            local.out = _scratch((ifd.block.height, ifd.block.width, 3))
        out = local.out if reuse else None
        if is_jpeg:
            imagecodecs.jpeg8_decode(tile, out=out, **options)
        else:
            imagecodecs.jpeg2k_decode(tile, out=out, planar=False)

    def decode_all() -> None:
        cores = len(os.sched_getaffinity(0))
        parts = [data[i::64] for i in range(64)]
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda part: [decode(tile) for tile in part] and None, parts))

    return decode_all


def _stored(slide: TiledTiffSlide, plan: TilePlan) -> Iterator[bytes]:
    ifd = slide.ifds[plan.level]
    across = -(-ifd.size.width // ifd.block.width)
    with Path(slide.info.path).open("rb") as file:
        for block in plan.blocks(slice(None)):
            for box in block.reads:
                for y in range(box.y // ifd.block.height, -(-box.bottom // ifd.block.height)):
                    for x in range(box.x // ifd.block.width, -(-box.right // ifd.block.width)):
                        file.seek(int(ifd.offsets[y * across + x]))
                        yield file.read(int(ifd.counts[y * across + x]))


def _scratch(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    size = int(np.prod(shape))
    memory = np.empty(size + 128, np.uint8)
    start = (SCRATCH_OFFSET - memory.ctypes.data) % 64
    return memory[start : start + size].reshape(shape)


if __name__ == "__main__":
    main()
