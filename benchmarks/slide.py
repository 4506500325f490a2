"""One slide through the whole job: seconds a stage, tiles/s, peak memory, and the two floors.

    python -m benchmarks.slide [--size 20000 | --slide PATH] [--tile 256 --mpp 0.5] [--json FILE]

With --tile and --mpp the default model is fed other tiles: its scores mean nothing then.

The floors (docs/performance.md) are measured in the same run: every native tile of the file that
the plan needs decoded once, by libjpeg-turbo on bytes that are in memory already; and every tile
through the network once, on batches that are there already. On a CPU the two add up: decoding in
core-seconds / cores, and the network in seconds on all cores.

The network is measured before and after the job and the faster one is its floor, so that what else
the machine does can only make the ratios worse.

A smaller slide goes first, so that libraries are loaded and the network has seen a full batch, as
from the second slide of a folder on.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contracts import Contract, write_model
from models.infer import Classifier, load_classifier
from models.registry import resolve_model
from service.pipeline import make_heatmap, prepare
from service.request import HeatmapRequest
from wsi.readers import open_slide
from wsi.tiler import TilePlan, read_tiles

__all__ = ["main", "measure_slide"]

WARM_PX = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000, help="side of the phantom, px")
    parser.add_argument("--slide", type=Path, help="a tiled JPEG TIFF instead of the phantom")
    parser.add_argument("--tile", type=int, default=50, help="px")
    parser.add_argument("--mpp", type=float, default=4.0, help="of the tiles, um/px")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = options.slide or _draw(Path(folder, "phantom.tiff"), options.size)
        small = _draw(Path(folder, "small.tiff"), WARM_PX)
        model = write_model(Contract(options.tile, options.mpp), Path(folder, "model"))
        facts = measure_slide(slide, small, Path(folder), str(model), options.device)
    for name, value in facts.items():
        print(f"{name:<34} {value}")
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


def measure_slide(slide: Path, small: Path, out: Path, model: str, device: str) -> dict[str, Any]:
    request = HeatmapRequest(slide=str(slide), model=model, device=device)
    card, _ = resolve_model(model)
    classifier = load_classifier(model, device, batch_size=request.batch_size)
    size = classifier.batch_size
    batch = np.zeros((size, card.tile_px, card.tile_px, 3), np.uint8)
    make_heatmap(replace(request, slide=str(small)), out / "warm", card, lambda: classifier)
    before_s = _network_tile_s(classifier, batch)
    started = time.perf_counter()
    result = make_heatmap(request, out / "measured", card, lambda: classifier)
    pipeline_s = time.perf_counter() - started
    with open_slide(slide) as opened:
        plan = prepare(request, opened, card).plan
        read_s = _seconds(lambda: [None for _ in read_tiles(opened, plan, batch_size=size)])
    tile_s = min(before_s, _network_tile_s(classifier, batch))
    floors = _floors(slide, plan, tile_s)
    stages = result.run["seconds"]
    return {
        "slide": f"{plan.grid.size0.width} x {plan.grid.size0.height} px",
        "tiles": len(plan),
        "native tiles": plan.native_tiles,
        **{f"{stage}, s": round(spent, 2) for stage, spent in stages.items()},
        "reading alone, s": round(read_s, 2),
        "whole, s": round(pipeline_s, 2),
        "tiles/s, whole": round(len(plan) / pipeline_s, 1),
        **{name: round(value, 2) for name, value in floors.items()},
        **_ratios(stages, pipeline_s, floors),
        "(mask + assemble + export) / whole": round(_beside(stages) / pipeline_s, 3),
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _network_tile_s(classifier: Classifier, batch: NDArray[np.uint8]) -> float:
    """Seconds a tile, on full batches that are there already."""
    calls: int = max(1, 1280 * 50**2 // (len(batch) * batch.shape[1] ** 2))
    seconds = _seconds(lambda: [classifier.predict(batch) for _ in range(calls)])
    return seconds / (calls * len(batch))


def _floors(slide: Path, plan: TilePlan, tile_s: float) -> dict[str, float]:
    decoded, decode_s = _decode_sample(slide, plan.level)
    cores = len(os.sched_getaffinity(0))
    return {
        "decode floor, s": plan.native_tiles * decode_s / decoded / cores,
        "network floor, s": len(plan) * tile_s,
        "network floor, tiles/s": 1 / tile_s,
    }


def _ratios(
    stages: dict[str, float], pipeline_s: float, floors: dict[str, float]
) -> dict[str, float]:
    network_s = floors["network floor, s"]
    return {
        "floor / pipeline": round((floors["decode floor, s"] + network_s) / pipeline_s, 3),
        "(mask + assemble + export) / network": round(_beside(stages) / network_s, 3),
    }


def _beside(stages: dict[str, float]) -> float:
    return stages["mask"] + stages["assemble"] + stages["export"]


def _decode_sample(slide: Path, level: int) -> tuple[int, float]:
    """Tiles of the level decoded, and core-seconds: the fullest ones, so no blank flatters us."""
    import imagecodecs
    import tifffile

    with tifffile.TiffFile(slide) as tiff:
        page: Any = tiff.series[0].levels[level].pages[0]
        sizes = np.array(page.databytecounts)
        largest = np.argsort(-sizes)[: max(1, len(sizes) // 2)][:300]
        tables, data = page.jpegtables, []
        for index in largest:
            tiff.filehandle.seek(page.dataoffsets[index])
            data.append(tiff.filehandle.read(int(sizes[index])))
    seconds = _seconds(lambda: [imagecodecs.jpeg8_decode(d, tables=tables) for d in data])
    return len(data), seconds


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _draw(path: Path, size: int) -> Path:
    """In a process of its own: its memory is not the job's."""
    command = "from service.cli import main; main()"
    arguments = ["phantom", str(path), "--size", str(size), "--quiet"]
    subprocess.run(
        [sys.executable, "-c", command, *arguments], check=True, stdout=subprocess.DEVNULL
    )
    return path


if __name__ == "__main__":
    main()
