"""Peak memory of a batch's worker with one slide, and with two at once.

    python -m benchmarks.batch_memory [--size 40000]

Phantoms of `size` px a side, the default model on the CPU, one local worker. Each number of slides
runs in a fresh process, whose largest child is the worker.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from service.batch import run_batch
from service.batch_list import list_slides
from service.request import HeatmapRequest
from wsi.phantom import draw_phantom

SLIDES = (1, 2, 4)  # a worker has two at a time: four show what the next ones add


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=40_000, help="side of the phantoms, px")
    parser.add_argument("--folder", type=Path, help="measure the slides there, in this process")
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(measure(options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder, "slide.tiff")
        draw_phantom(slide, size_px=options.size)
        for count in SLIDES:
            many = Path(folder, str(count))
            many.mkdir()
            for number in range(count):
                (many / f"{number}.tiff").hardlink_to(slide)
            command = [sys.executable, "-m", "benchmarks.batch_memory", "--folder", str(many)]
            print(count, subprocess.check_output(command, text=True).strip(), flush=True)


def measure(folder: Path) -> dict[str, float | int]:
    """The batch of a folder: seconds, and the peak of the worker's resident memory."""
    with tempfile.TemporaryDirectory() as out:
        tasks = list_slides(folder, Path(out), HeatmapRequest(slide="", device="cpu"))
        started = time.perf_counter()
        outcome = run_batch(tasks, Path(out), workers=1)
        seconds = time.perf_counter() - started
    assert not outcome.failed, outcome.to_text()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "slides": len(tasks),
        "tiles": sum(row.tiles for row in outcome.rows),
        "seconds": round(seconds, 1),
        "worker_peak_mib": peak // 1024,
    }


if __name__ == "__main__":
    main()
