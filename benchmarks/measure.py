"""One slide and one contract in this process: seconds a stage, the floors, and memory.

    python -m benchmarks.measure FOLDER [--size 20000] [--tile 256x0.5] [--tiles-at-most 1000]

Prints JSON. The floors are measured in the same run: the decoding of every native tile that the
plan needs, once, by all cores from bytes in memory; and the network on full batches that are there
already, before and after the job (the faster counts). A small slide goes first. The slide's file
has been read by then: a disk is no part of the floors.

--tiles-at-most scores full rows from the middle of the tissue, no more tiles than that: a whole
slide of large tiles takes minutes on a processor. Mask, reading alone and its floor stay whole.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contracts import CONTRACTS, Contract, write_model
from benchmarks.phantoms import phantom
from benchmarks.reading import _decoding
from models.card import ModelCard
from models.infer import Classifier, load_classifier
from models.registry import resolve_model
from service.pipeline import make_heatmap, prepare
from service.request import HeatmapRequest
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.tiff import TiledTiffSlide
from wsi.slide import Slide
from wsi.tiler import TilePlan, read_tiles

__all__ = ["main", "measure", "middle_rows"]

WARM_PX = 8_000
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps the phantoms")
    parser.add_argument("--size", type=int, default=20_000, help="side of the phantom, px")
    parser.add_argument("--tile", type=Contract.parse, default=CONTRACTS[0], help="PXxMPP")
    parser.add_argument("--tiles-at-most", type=int)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    slide, warm = (phantom(options.folder, size) for size in (options.size, WARM_PX))
    with tempfile.TemporaryDirectory(dir=options.folder) as out:
        model = write_model(options.tile, Path(out, "model"))
        request = HeatmapRequest(slide=str(slide), model=str(model), device=options.device)
        facts = measure(request, warm, Path(out), options.tiles_at_most)
    print(json.dumps({"contract": str(options.tile), "size_px": options.size} | facts))


def measure(
    request: HeatmapRequest, warm: Path, out: Path, tiles_at_most: int | None
) -> dict[str, Any]:
    """Facts as JSON. Memory is this process's, so it is measured in a fresh one."""
    card, _ = resolve_model(request.model)
    classifier = load_classifier(request.model, request.device)
    batch = np.zeros((classifier.batch_size, card.tile_px, card.tile_px, 3), np.uint8)
    classifier.predict(batch)
    before_mib = _resident_mib("VmRSS")
    make_heatmap(replace(request, slide=str(warm)), out / "warm", card, lambda: classifier)
    before_s = _network_tile_s(classifier, batch)
    _read_file(Path(request.slide))
    part0 = _part0(request, card, tiles_at_most)
    started = time.perf_counter()
    result = make_heatmap(
        request, out / "slide", card, lambda: classifier, opener=partial(_open_part, part0)
    )
    whole_s = time.perf_counter() - started
    peak_mib = _resident_mib("VmHWM")
    tile_s = min(before_s, _network_tile_s(classifier, batch))
    seconds = {"whole": whole_s, **result.run["seconds"]}
    shutil.rmtree(out / "slide")
    return {
        "device": classifier.device,
        "tiles_scored": result.manifest["tiles"],
        "seconds": seconds,
        "network_tiles_s": 1 / tile_s,
        "memory_mib": {"before": before_mib, "peak": peak_mib},
        **_measure_reading(request, card, classifier.batch_size),
    }


def _read_file(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(MIB):
            pass


def _measure_reading(request: HeatmapRequest, card: ModelCard, batch_size: int) -> dict[str, Any]:
    """All tiles with tissue read, by a network that does nothing, and the floor of it."""
    with open_slide(request.slide) as slide:
        if not isinstance(slide, TiledTiffSlide):
            raise TypeError(f"{request.slide}: no slide of the native reader")
        plan = prepare(request, slide, card).plan
        return {
            "tiles": len(plan),
            "native_tiles": plan.native_tiles,
            "level": plan.level,
            "reading_s": _fastest(lambda: _read_all(slide, plan, batch_size)),
            "decoding_floor_s": _fastest(_decoding(slide, plan, reuse=True)),
        }


def _read_all(slide: Slide, plan: TilePlan, batch_size: int) -> None:
    for _ in read_tiles(slide, plan, batch_size=batch_size):
        pass


def _part0(request: HeatmapRequest, card: ModelCard, tiles_at_most: int | None) -> Box | None:
    """Full rows of tiles around the middle one with tissue; None: all of the slide."""
    if tiles_at_most is None:
        return None
    with open_slide(request.slide) as slide:
        prepared = prepare(request, slide, card)
    grid = prepared.grid
    per_row = np.bincount(prepared.plan.indices[:, 0], minlength=grid.shape[0])
    if per_row.sum() <= tiles_at_most:
        return None
    first, stop = middle_rows(per_row, tiles_at_most)
    top0 = int(grid.starts_y0[first])
    return Box(0, top0, grid.size0.width, int(grid.ends_y0[stop - 1]) - top0)


def middle_rows(tiles: NDArray[np.int64], at_most: int) -> tuple[int, int]:
    """First row, and one past the last, of those around the middle tile.

    tiles: (rows,), how many each row has. No more than at_most, but one row at least.
    """
    first = int(np.searchsorted(tiles.cumsum(), tiles.sum() / 2))
    stop = first + 1
    while stop - first < len(tiles) and tiles[max(0, first - 1) : stop + 1].sum() <= at_most:
        first, stop = max(0, first - 1), min(len(tiles), stop + 1)
    return first, stop


def _open_part(part0: Box | None, *given: Any, **named: Any) -> Slide:
    """As open_slide(); only that part of level 0 counts as scanned."""
    slide = open_slide(*given, **named)
    assert isinstance(slide, TiledTiffSlide)
    slide._info = replace(slide.info, bounds=part0)
    return slide


def _network_tile_s(classifier: Classifier, batch: NDArray[np.uint8]) -> float:
    calls = max(2, 512 // len(batch))
    return _seconds(lambda: [classifier.predict(batch) for _ in range(calls)]) / calls / len(batch)


def _fastest(work: Callable[[], object], rounds: int = 2) -> float:
    return min(_seconds(work) for _ in range(rounds))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _resident_mib(field: str) -> float:
    """VmRSS: now in memory. VmHWM: at most so far."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / MIB
    raise OSError(f"the system does not tell {field}")


if __name__ == "__main__":
    main()
