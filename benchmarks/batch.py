"""How busy the network is while a batch goes from slide to slide.

    python -m benchmarks.batch [--slide PATH | --size 20000] [--slides 4]

The default model on the CPU, one worker, which is in this process so that its network can be asked
when it computed. The busy share is the part of the time between the first tile and the last in
which the network computes; the waits are what lies between two of its batches.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.infer import Classifier, load_classifier
from service import batch, cluster
from service.batch_list import list_slides
from service.request import HeatmapRequest
from wsi.phantom import draw_phantom

__all__ = ["main", "measure"]


class Watched(batch.SharedClassifier):
    """A classifier that notes when it computed, s."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.busy: list[tuple[float, float]] = []  # from, to

    def predict_raw(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        started = time.perf_counter()
        prob = super().predict_raw(rgb)
        self.busy.append((started, time.perf_counter()))
        return prob


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="taken several times")
    parser.add_argument("--size", type=int, default=20_000, help="side of the phantom, px")
    parser.add_argument("--slides", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = options.slide or Path(folder, "slide.tiff")
        if options.slide is None:
            draw_phantom(slide, size_px=options.size)
        many = Path(folder, "slides")
        many.mkdir()
        for number in range(options.slides):
            (many / f"{number}{slide.suffix}").symlink_to(slide.resolve())
        print(json.dumps(measure(many, Path(folder, "out")), indent=1))


def measure(slides: Path, out: Path) -> dict[str, Any]:
    from distributed import LocalCluster

    request = HeatmapRequest(slide="", device="cpu")
    watched = Watched(load_classifier(request.model, "cpu", batch_size=request.batch_size))
    batch._resident = lambda _: watched  # type: ignore[assignment]
    tasks = list_slides(slides, out, request)
    with LocalCluster(
        n_workers=1, threads_per_worker=cluster.THREADS, processes=False, dashboard_address=None
    ) as workers:
        batch.run_batch(tasks[:1], out / "warm", scheduler=workers.scheduler_address)
        for folder in (tasks[0].folder, out / "warm"):
            folder.rename(folder.with_name(folder.name + ".first"))
        watched.busy.clear()
        started = time.perf_counter()
        outcome = batch.run_batch(tasks, out, scheduler=workers.scheduler_address)
        whole_s = time.perf_counter() - started
    assert not outcome.failed, outcome.to_text()
    return {"slides": len(tasks), "whole_s": round(whole_s, 2), **_busy(watched.busy)}


def _busy(spans: list[tuple[float, float]]) -> dict[str, Any]:
    spans = sorted(spans)
    waits = [max(0.0, after[0] - before[1]) for before, after in itertools.pairwise(spans)]
    from_first_to_last_s = spans[-1][1] - spans[0][0]
    return {
        "batches": len(spans),
        "busy_share": round(1 - sum(waits) / from_first_to_last_s, 3),
        "longest_waits_ms": [round(1000 * wait) for wait in sorted(waits, reverse=True)[:5]],
    }


if __name__ == "__main__":
    main()
