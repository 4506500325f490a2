"""A slide goes in, a folder with its heatmap comes out."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.infer import Classifier, ScoredBatch, load_classifier, score_tiles
from models.registry import resolve_model
from service.errors import Stopped
from service.outputs import OUTPUTS, require_outputs
from service.picture import keep_small, read_picture
from service.progress import Progress, Silent, StageClock
from service.records import NativeReads, describe_run, describe_work, manifest_of
from service.request import HeatmapRequest
from service.results import MASK_IMAGE, SCORES, ResultFolder, work_sha256
from service.tissue import Prepared, lay_tiles
from wsi.cores import usable_cores
from wsi.errors import StoreIncomplete, StoreMismatch
from wsi.export import export
from wsi.export.png import save_png
from wsi.export.source import ExportSource
from wsi.heatmap import assemble
from wsi.mask import mask_image
from wsi.readers import open_slide
from wsi.regions import summarise
from wsi.slide import Slide, SlideInfo, require_mpp
from wsi.store import RowWriter, ScoreStore
from wsi.tiler import TileBatch, TilePlan, read_tiles

__all__ = [
    "HeatmapResult",
    "SlideOpener",
    "make_heatmap",
    "prepare",
    "run_request",
]


DEAR = ("overlay", "report", "ome-zarr", "ome-tiff", "geojson")
"""Outputs that are begun first: what takes long would keep a core waiting at the end."""

SlideOpener = Callable[..., Slide]
"""Opens slides with the arguments of wsi.readers.open_slide()."""

Turn = Callable[[], AbstractContextManager[object]]
"""Held while the network is used, by slides that share one: the next is ready to go on at once."""


@dataclass(frozen=True)
class HeatmapResult:
    """What make_heatmap() left on disk."""

    folder: Path
    manifest: dict[str, Any]
    run: dict[str, Any]  # empty where the result was kept
    kept: bool  # an equal result was there already


def run_request(
    request: HeatmapRequest,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    tunings: Path | None = None,
) -> HeatmapResult:
    """One slide with a model of its own, into `out`/<slide name>/; see make_heatmap().

    tunings: folder of what `wsi doctor --tune` found.
    """
    card, _ = resolve_model(request.model)
    folder = out / request.name
    loaded: list[Classifier] = []

    def load() -> Classifier:
        if not loaded:
            loaded.append(
                load_classifier(
                    request.model,
                    request.device,
                    batch_size=request.batch_size,
                    trust_code=request.trust_code,
                    tuning=tunings,
                )
            )
        return loaded[0]

    try:
        return make_heatmap(request, folder, card, load, overwrite=overwrite, progress=progress)
    finally:
        for classifier in loaded:
            classifier.close()


def make_heatmap(
    request: HeatmapRequest,
    folder: Path,
    card: ModelCard,
    classifier: Callable[[], Classifier],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    opener: SlideOpener = open_slide,
    turn: Turn = nullcontext,
) -> HeatmapResult:
    """Scores one slide into `folder`, or keeps the equal result that is there.

    `classifier` is called when the first tile is about to be scored. `opener` is called as
    open_slide() is; one that opens slides in a process of its own goes here. A run that was stopped
    goes on where it was. Raises WsiError, ModelError, ServiceError.
    """
    require_outputs(request.formats)
    clock = StageClock(progress or Silent())
    result = ResultFolder(folder)
    with opener(request.slide, request.mpp, request.reader, apply_icc=request.icc) as opened:
        require_mpp(opened.info)
        with _described(request, opened.info, card) as ahead:
            if result.manifest() is not None:
                with clock.stage("hash"):
                    work = ahead.result()
                if result.holds(work):
                    return HeatmapResult(folder, result.manifest() or {}, {}, kept=True)
            result.require_free(overwrite=overwrite)
            with clock.stage("mask"):
                slide = keep_small(opened)
                prepared = prepare(request, slide, card)
            with clock.stage("hash"):
                work = ahead.result()
        with result.writing(work, overwrite=overwrite) as partial:
            prob, device, reads = _score(
                slide, prepared.plan, partial, card, work, classifier, request, clock
            )
            with clock.stage("assemble"):
                source = _assemble(request, slide, prepared, prob, card, work)
            with clock.stage("export", len(request.formats)):
                _export(source, partial, request.formats, clock.progress)
            with clock.stage("publish"):
                manifest = manifest_of(work, source, prepared.plan, partial)
                run = describe_run(request, clock.seconds, device, reads)
                result.publish(manifest, run)
    return HeatmapResult(folder, manifest, run, kept=False)


@contextmanager
def _described(
    request: HeatmapRequest, info: SlideInfo, card: ModelCard
) -> Iterator[Future[dict[str, Any]]]:
    """describe_work() in a thread, which reads all of the slide while the mask is made; leaving
    the block ends it."""
    left = threading.Event()
    with ThreadPoolExecutor(1, "identity") as thread:
        try:
            yield thread.submit(describe_work, request, info, card, left.is_set)
        finally:
            left.set()


def prepare(request: HeatmapRequest, slide: Slide, card: ModelCard) -> Prepared:
    """Mask, grid and plan: what would be read and how many tiles, without reading them."""
    return lay_tiles(
        slide,
        tile_px=card.tile_px,
        mpp=card.mpp,
        stride_px=request.stride_px,
        mask=request.mask,
        min_tissue=request.min_tissue,
        upsample=request.upsample,
    )


def _score(
    slide: Slide,
    plan: TilePlan,
    partial: Path,
    card: ModelCard,
    work: dict[str, Any],
    classifier: Callable[[], Classifier],
    request: HeatmapRequest,
    clock: StageClock,
) -> tuple[NDArray[np.float32], str, NativeReads]:
    """Probabilities in the order of the plan, float32 (tiles, classes), on what they were made, and
    what this run read for them.

    Shards go to disk as they are done; what a stopped run left whole is not done again.
    """
    store, device, reads = partial / SCORES, "none", NativeReads()
    if not _is_whole(store):
        made_from = {"work_sha256": work_sha256(work), "grid": plan.grid.to_json()}
        with (
            clock.stage("score", len(plan.indices)),
            ScoreStore.create(store, plan.xy0, card.classes, made_from, restart=True) as writer,
        ):
            clock.progress.advance(len(plan.indices) - sum(map(len, writer.missing)))
            for rows in writer.missing:
                device = classifier().device
                reads.needed += plan.count_native(slice(rows.start, rows.stop))
                _score_rows(slide, plan, rows, writer, classifier(), clock.progress, reads)
            writer.finish()
    return ScoreStore.open(store).prob, device, reads


def _is_whole(store: Path) -> bool:
    """Whether scores of a stopped run can be taken; damaged ones are thrown away."""
    if not store.exists():
        return False
    try:
        ScoreStore.open(store)
    except (StoreIncomplete, StoreMismatch):
        shutil.rmtree(store)
        return False
    return True


def _score_rows(
    slide: Slide,
    plan: TilePlan,
    rows: range,
    writer: RowWriter,
    classifier: Classifier,
    progress: Progress,
    reads: NativeReads,
) -> None:
    """Reads, scores and writes some tiles: threads read ahead while the network works."""
    size = classifier.batch_size
    with closing(
        read_tiles(
            slide, plan, batch_size=size, first=rows.start, stop=rows.stop, on_read=reads.add
        )
    ) as batches:
        for scored in _scored(classifier, batches):
            writer.write(scored.start, scored.prob)
            progress.advance(len(scored.prob))
            if progress.should_stop():
                raise Stopped(f"{slide.info.path}: stopped; the next run goes on where it was")


def _scored(classifier: Classifier, batches: Iterable[TileBatch]) -> Iterator[ScoredBatch]:
    """On a CPU reading and network share the cores, and disturb each other more than they gain:
    there they take turns, a few blocks are read ahead all the same."""
    if not classifier.device.startswith("cpu"):
        yield from score_tiles(classifier, batches)
        return
    for batch in batches:
        yield ScoredBatch(batch.start, classifier.predict(batch.rgb))


def _assemble(
    request: HeatmapRequest,
    slide: Slide,
    prepared: Prepared,
    prob: NDArray[np.float32],
    card: ModelCard,
    work: dict[str, Any],
) -> ExportSource:
    heatmap = assemble(
        prepared.grid,
        prepared.plan.indices,
        prob,
        classes=card.classes,
        positive_class=card.positive_class,
        threshold=card.threshold,
        window=request.window,
    )
    return ExportSource(
        slide=slide.info,
        slide_id=work["slide"]["id"],
        model=card.name,
        heatmap=heatmap,
        grid=prepared.grid,
        indices=prepared.plan.indices,
        prob=prob,
        mask=prepared.mask,
        overview=read_picture(slide, prepared.overview),
        summary=summarise(heatmap, prepared.mask),
        warnings=(*slide.info.warnings, *prepared.mask.warnings),
        provenance=work | {"card": card.to_json()},
    )


def _export(
    source: ExportSource, partial: Path, names: tuple[str, ...], progress: Progress
) -> None:
    """At most two at a time, which bounds the memory: compressors leave the interpreter's lock."""

    def write(name: str) -> None:
        output = OUTPUTS[name]
        export(source, output.format, partial / output.file, **output.options)

    with ThreadPoolExecutor(min(2, usable_cores()), "export") as pool:
        jobs = [
            pool.submit(write, name) for name in sorted(names, key=lambda name: name not in DEAR)
        ]
        try:
            save_png(mask_image(source.mask), partial / MASK_IMAGE)
            for job in as_completed(jobs):
                job.result()
                progress.advance(1)
        finally:  # after an error nothing is begun any more
            pool.shutdown(wait=True, cancel_futures=True)
