"""A slide goes in, a folder with its heatmap comes out."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.context import context_by_tile, why_no_context
from models.infer import Classifier, load_classifier
from models.registry import resolve_model
from service.likeness import unlike_training
from service.outputs import OUTPUTS, require_outputs
from service.picture import keep_small, read_picture
from service.progress import Progress, Silent, StageClock
from service.records import describe_run, describe_work, manifest_of
from service.request import HeatmapRequest
from service.results import MASK_IMAGE, ResultFolder
from service.scoring import Scoring, Turn
from service.tissue import Prepared, lay_tiles
from wsi.cores import usable_cores
from wsi.errors import StoreIncomplete
from wsi.export import export
from wsi.export.png import save_png
from wsi.export.source import ExportSource, channels_by_tile
from wsi.heatmap import assemble
from wsi.mask import mask_image
from wsi.readers import open_slide
from wsi.regions import summarise
from wsi.slide import Slide, SlideInfo, require_mpp

__all__ = [
    "HeatmapResult",
    "SlideOpener",
    "make_heatmap",
    "prepare",
    "run_request",
]


ORDER = ("overlay", "ome-zarr", "report", "ome-tiff", "hdf5", "geojson", "regions", "csv", "png")
"""In which outputs are begun: the dearest first, so that no core waits at the end."""

SlideOpener = Callable[..., Slide]
"""Opens slides with the arguments of wsi.readers.open_slide()."""


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
                    precision=request.precision,
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
    with ExitStack() as stack:
        opened = stack.enter_context(_open(request, opener))
        require_mpp(opened.info)
        ahead = stack.enter_context(_described(request, opened.info, card))
        if _is_kept(result, ahead, clock, overwrite=overwrite):
            return HeatmapResult(folder, result.manifest() or {}, {}, kept=True)
        result.require_free(overwrite=overwrite)
        with clock.stage("mask"):
            slide = keep_small(opened)
            prepared = prepare(request, slide, card)
        scoring = stack.enter_context(
            closing(Scoring(slide, prepared.plan, classifier, clock, turn, tta=request.tta))
        )
        with clock.stage("hash"):
            if not result.partial.exists():  # nothing to go on with
                scoring.begin(ahead.done)
            work = ahead.result()
        partial = stack.enter_context(result.writing(work, overwrite=overwrite))
        scored = scoring.finish(partial, work, card)
        source = _assemble(request, slide, prepared, scored, card, work, clock)
        _export(source, partial, request.formats, clock)
        with clock.stage("publish"):
            manifest = manifest_of(work, source, prepared.plan, partial)
            run = describe_run(request, clock.seconds, scoring.device, scoring.reads)
            result.publish(manifest, run)
    return HeatmapResult(folder, manifest, run, kept=False)


def _open(request: HeatmapRequest, opener: SlideOpener) -> Slide:
    return opener(request.slide, request.mpp, request.reader, apply_icc=request.icc)


def _is_kept(
    result: ResultFolder, ahead: Future[dict[str, Any]], clock: StageClock, *, overwrite: bool
) -> bool:
    """Whether the result is there already: only then somebody has to wait for the slide's hash.

    One that is damaged raises StoreIncomplete; to overwrite is its way out.
    """
    try:
        if result.manifest() is None:
            return False
        with clock.stage("hash"):
            return result.holds(ahead.result())
    except StoreIncomplete:
        if overwrite:
            return False
        raise


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
        mask_frame=request.mask_frame,
    )


def _assemble(
    request: HeatmapRequest,
    slide: Slide,
    prepared: Prepared,
    scored: tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]],
    card: ModelCard,
    work: dict[str, Any],
    clock: StageClock,
) -> ExportSource:
    prob, channels = scored
    grid, indices = prepared.grid, prepared.plan.indices
    with clock.stage("assemble"):
        channels = channels | context_by_tile(card, grid, indices, prob, channels)
        heatmap = assemble(
            grid,
            indices,
            prob,
            classes=card.classes,
            positive_class=card.positive_class,
            threshold=card.threshold,
            window=request.window,
            channels=channels,
        )
        overview = read_picture(slide, prepared.overview)
        summary = summarise(heatmap, prepared.mask)
    return ExportSource(
        slide=slide.info,
        slide_id=work["slide"]["id"],
        model=card.name,
        heatmap=heatmap,
        grid=grid,
        indices=indices,
        prob=prob,
        channels=channels_by_tile(heatmap, grid, indices, channels),
        mask=prepared.mask,
        overview=overview,
        summary=summary,
        warnings=_warnings(slide.info, prepared, card),
        provenance=work | {"card": card.to_json()},
    )


def _warnings(info: SlideInfo, prepared: Prepared, card: ModelCard) -> tuple[str, ...]:
    missed = why_no_context(card, prepared.grid)
    return (
        *info.warnings,
        *prepared.mask.warnings,
        *unlike_training(card, info, prepared),
        *([missed] if missed else []),
    )


def _export(source: ExportSource, partial: Path, names: tuple[str, ...], clock: StageClock) -> None:
    """At most two at a time, which bounds the memory: compressors leave the interpreter's lock."""

    def write(name: str) -> None:
        output = OUTPUTS[name]
        export(source, output.format, partial / output.file, **output.options)

    with (
        clock.stage("export", len(names)),
        ThreadPoolExecutor(min(2, usable_cores()), "export") as pool,
    ):
        jobs = [pool.submit(write, name) for name in sorted(names, key=_place)]
        try:
            save_png(mask_image(source.mask), partial / MASK_IMAGE)
            for job in as_completed(jobs):
                job.result()
                clock.progress.advance(1)
        finally:  # after an error nothing is begun any more
            pool.shutdown(wait=True, cancel_futures=True)


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
