"""What a heatmap would cost: read a little, score a little, and reckon."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.infer import Predictor, load_classifier
from models.registry import resolve_model
from models.scorer import Scorer
from service.errors import ServiceError
from service.outputs import require_outputs
from service.pipeline import prepare
from service.request import HeatmapRequest
from service.tissue import Prepared
from wsi.address import hide_secrets, public_path
from wsi.errors import WsiError
from wsi.readers import open_slide
from wsi.slide import Slide
from wsi.tiler import TilePlan, read_tiles

__all__ = ["Throughput", "forecast", "forecast_batch", "forecast_reading", "measure"]

SAMPLE_TILES = 512
SAMPLE_BATCH = 128
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


def forecast(request: HeatmapRequest, *, tunings: Path | None = None) -> dict[str, Any]:
    """Level, tiles and time of make_heatmap(), from a sample; nothing is written."""
    return _forecast(request, None, tunings)[0]


def forecast_batch(
    requests: Iterable[HeatmapRequest], *, tunings: Path | None = None
) -> dict[str, Any]:
    """forecast() of each slide and the sums; the first one's rates serve all the others.

    A slide that would fail has its reason instead.
    """
    speed: Throughput | None = None
    slides = []
    for request in requests:
        try:
            facts, speed = _forecast(request, speed, tunings)
        except (WsiError, ModelError, ServiceError, OSError) as error:
            reason = hide_secrets(str(error), request.slide)
            facts = {"slide": public_path(request.slide), "reason": reason}
        slides.append(facts)
    return {
        "slides": slides,
        "tiles": sum(facts.get("tiles", 0) for facts in slides),
        "seconds_at_most": round(sum(facts.get("seconds_at_most", 0) for facts in slides), 1),
        "failing": sum("reason" in facts for facts in slides),
    }


def forecast_reading(slide: Slide, plan: TilePlan) -> dict[str, Any]:
    """Level, tiles and time of reading them, from a sample."""
    facts = {"level": plan.level, "tiles": len(plan), "native_tiles": plan.native_tiles}
    if not len(plan):
        return facts
    rate = _read_sample(slide, plan, SAMPLE_BATCH)[0]
    seconds = round(len(plan) / rate, 1)
    return facts | {"read_tiles_a_second": round(rate, 1), "seconds_at_most": seconds}


def measure(slide: Slide, plan: TilePlan, classifier: Predictor) -> Throughput:
    """Reads a sample of the plan, and scores one of its batches again and again."""
    size = classifier.batch_size
    read_tiles_s, sample = _read_sample(slide, plan, size)
    rgb = np.resize(sample, (size, *sample.shape[1:]))
    return Throughput(read_tiles_s, size * _rate(lambda: classifier.predict(rgb)))


def _forecast(
    request: HeatmapRequest, speed: Throughput | None, tunings: Path | None
) -> tuple[dict[str, Any], Throughput | None]:
    """The facts, and the throughput: as given, or measured where there is a tile to measure on."""
    require_outputs(request.formats)
    card, _ = resolve_model(request.model)
    with open_slide(request.slide, request.mpp, request.reader) as slide:
        started = time.perf_counter()
        prepared = prepare(request, slide, card)
        mask_s = time.perf_counter() - started
        facts = _describe(slide, prepared, mask_s)
        plan = prepared.plan
        if not len(plan):
            return facts | {
                "outcome": "no tissue found",
                "seconds_at_most": round(mask_s, 1),
            }, speed
        speed = speed or _measure(request, slide, plan, tunings)
    return facts | {
        "read_tiles_a_second": round(speed.read_tiles_s, 1),
        "network_tiles_a_second": round(speed.network_tiles_s, 1),
        "limit": speed.limit,
        "seconds_at_most": round(mask_s + speed.seconds(len(plan)), 1),
    }, speed


def _describe(slide: Slide, prepared: Prepared, mask_s: float) -> dict[str, Any]:
    return {
        "slide": public_path(slide.info.path),
        "level": prepared.plan.level,
        "tiles": len(prepared.plan),
        "grid": list(prepared.grid.shape),
        "native_tiles": prepared.plan.native_tiles,
        "tissue_mm2": round(prepared.mask.area_mm2, 3),
        "mask_s": round(mask_s, 2),
    }


def _measure(
    request: HeatmapRequest, slide: Slide, plan: TilePlan, tunings: Path | None
) -> Throughput:
    classifier = load_classifier(
        request.model,
        request.device.partition(",")[0],  # of several devices that share a batch, the first
        batch_size=request.batch_size,
        precision=request.precision,
        trust_code=request.trust_code,
        tuning=tunings,
    )
    with closing(classifier):
        return measure(slide, plan, Scorer(classifier, tta=request.tta))


def _read_sample(slide: Slide, plan: TilePlan, batch_size: int) -> tuple[float, NDArray[np.uint8]]:
    """Tiles a second, and the first batch."""
    started = time.perf_counter()
    with closing(read_tiles(slide, plan, batch_size=batch_size)) as batches:
        read = list(islice(batches, max(1, SAMPLE_TILES // batch_size)))
    read_s = time.perf_counter() - started
    return sum(len(batch.rgb) for batch in read) / read_s, read[0].rgb


def _rate(work: Callable[[], object]) -> float:
    """Calls a second, after one to warm up."""
    work()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < SAMPLE_S:
        work()
        calls += 1
    return calls / (time.perf_counter() - started)
