"""What a heatmap would cost: read a little, score a little, and reckon."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from models.infer import Classifier, load_classifier
from models.registry import resolve_model
from service.pipeline import prepare
from service.request import HeatmapRequest
from wsi.readers import open_slide
from wsi.slide import Slide
from wsi.tiler import TilePlan, read_tiles

__all__ = ["Throughput", "forecast", "measure"]

SAMPLE_TILES = 512
SAMPLE_S = 2.0


@dataclass(frozen=True)
class Throughput:
    """Tiles a second of reading alone and of the network alone."""

    read_tiles_s: float
    network_tiles_s: float

    @property
    def limit(self) -> str:
        return "reading" if self.read_tiles_s < self.network_tiles_s else "network"

    def seconds(self, tiles: int) -> float:
        """Upper bound: one after the other. They overlap where there are cores to spare."""
        return tiles / self.read_tiles_s + tiles / self.network_tiles_s


def forecast(request: HeatmapRequest) -> dict[str, Any]:
    """Level, tiles and time of make_heatmap(), from a sample; nothing is written."""
    card, _ = resolve_model(request.model)
    with open_slide(request.slide, request.mpp, request.reader) as slide:
        started = time.perf_counter()
        prepared = prepare(request, slide, card)
        mask_s = time.perf_counter() - started
        plan = prepared.plan
        facts = {
            "slide": slide.info.path,
            "level": plan.level,
            "tiles": len(plan),
            "grid": list(prepared.grid.shape),
            "native_tiles": plan.native_tiles,
            "tissue_mm2": round(prepared.mask.area_mm2, 3),
            "mask_s": round(mask_s, 2),
        }
        if not len(plan):
            return facts | {"outcome": "no tissue found"}
        classifier = load_classifier(request.model, request.device, batch_size=request.batch_size)
        with closing(classifier):
            speed = measure(slide, plan, classifier, request.batch_size)
    return facts | {
        "read_tiles_a_second": round(speed.read_tiles_s, 1),
        "network_tiles_a_second": round(speed.network_tiles_s, 1),
        "limit": speed.limit,
        "seconds_at_most": round(mask_s + speed.seconds(len(plan)), 1),
    }


def measure(slide: Slide, plan: TilePlan, classifier: Classifier, batch_size: int) -> Throughput:
    """Reads a sample of the plan, and scores one of its batches again and again."""
    started = time.perf_counter()
    with closing(read_tiles(slide, plan, batch_size=batch_size)) as batches:
        read = list(islice(batches, max(1, SAMPLE_TILES // batch_size)))
    read_s = time.perf_counter() - started
    tiles = sum(len(batch.rgb) for batch in read)
    rgb = np.resize(read[0].rgb, (batch_size, *read[0].rgb.shape[1:]))
    return Throughput(tiles / read_s, batch_size * _rate(lambda: classifier.predict(rgb)))


def _rate(work: Callable[[], object]) -> float:
    """Calls a second, after one to warm up."""
    work()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < SAMPLE_S:
        work()
        calls += 1
    return calls / (time.perf_counter() - started)
