"""Annotated slides go in, a folder of labelled patches comes out, on which recipes train."""

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets.annotations import Annotations
from models.datasets.bach import CLASSES, FOLDERS
from models.datasets.patch_labels import BETWEEN, DISPUTED, label_tiles
from models.datasets.patch_table import PatchRow, patches_path, write_patches
from service.annotated import AnnotatedSlide, find_annotated, read_annotated
from service.errors import Stopped
from service.patch_request import PatchRequest
from service.progress import Progress, Silent
from service.tissue import Prepared, lay_tiles
from wsi import __version__
from wsi.cores import usable_cores
from wsi.errors import ResultExists, StoreMismatch
from wsi.identity import files_identity, slide_identity
from wsi.readers import open_slide
from wsi.slide import Slide
from wsi.store.folder import flush_file, partial_file, partial_path, publish
from wsi.store.journal import FolderLock
from wsi.tiler import TilePlan, plan_tiles, read_tiles

__all__ = ["cut_patches"]

RECORD = "patches.json"
PHOTOS = "Photos"
BATCH_BYTES = 64 << 20  # of pixels between the reader and the encoders
FLUSH_THREADS = 8
MM_FROM_INCH = 25.4


def cut_patches(
    folder: Path,
    out: Path,
    request: PatchRequest,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes `out`/Photos/<class>/<slide>_<x0>_<y0>.png, a table a slide, and `out`/patches.json.

    Everything that is drawn is checked before the first slide is cut; a stopped run goes on with
    the slide where it was; an equal result is kept. Returns the counts. Raises DatasetError,
    WsiError; ResultExists or StoreMismatch where something else is there.
    """
    progress = progress or Silent()
    slides, unannotated = find_annotated(folder)
    annotations = read_annotated(slides, request)
    made_from = _made_from(slides, request, progress)
    kept = out.exists() and _read_record(out).get("made_from") == made_from
    if not kept:
        if out.exists() and not overwrite:
            raise ResultExists(
                f"{out} was not cut from these slides and annotations with these options; take "
                "another folder, or --overwrite"
            )
        _cut_all(slides, annotations, request, made_from, out, overwrite, progress)
    counts = _read_record(out)["slides"]
    return {
        "out": str(out),
        "kept": kept,
        "patches": {name: sum(c[name] for c in counts.values()) for name in CLASSES},
        "slides": counts,
        "without_annotations": unannotated,
        "warnings": _warnings(counts),
    }


def _cut_all(
    slides: Sequence[AnnotatedSlide],
    annotations: Sequence[Annotations],
    request: PatchRequest,
    made_from: Mapping[str, Any],
    out: Path,
    overwrite: bool,
    progress: Progress,
) -> None:
    partial = partial_path(out)
    with FolderLock(partial):
        done = _resume(partial, made_from, overwrite)
        _write_record(partial, made_from, done)
        for name in FOLDERS:
            (partial / PHOTOS / name).mkdir(parents=True, exist_ok=True)
        for one, drawn in zip(slides, annotations, strict=True):
            if one.name not in done:
                done[one.name] = _cut_slide(one, drawn, request, partial / PHOTOS, progress)
                _write_record(partial, made_from, done)
        publish(partial, out, overwrite=overwrite)


def _cut_slide(
    one: AnnotatedSlide, drawn: Annotations, request: PatchRequest, photos: Path, progress: Progress
) -> dict[str, int]:
    """Pixels and table on the disk, safe from a power cut; the counts."""
    with open_slide(one.slide, request.slide_mpp, request.reader) as slide:
        prepared = lay_tiles(
            slide,
            tile_px=request.patch_px,
            mpp=request.mpp,
            stride_px=None,
            mask=request.mask,
            min_tissue=request.min_tissue,
            upsample=request.upsample,
        )
        plan, labels, counts = _labelled(slide, prepared, drawn, request)
        rows = [
            PatchRow(f"{one.name}_{x0}_{y0}.png", FOLDERS[label], one.name, x0, y0, request.mpp)
            for (x0, y0), label in zip(plan.xy0.tolist(), labels.tolist(), strict=True)
        ]
        progress.start(one.name, len(plan))
        _write_pictures(slide, plan, rows, photos, progress)
    table = patches_path(photos, one.name)
    write_patches(table, rows)
    _flush([table, *(photos / row.folder / row.file for row in rows)])
    _flush([photos, *(photos / name for name in FOLDERS)])
    return counts


def _labelled(
    slide: Slide, prepared: Prepared, drawn: Annotations, request: PatchRequest
) -> tuple[TilePlan, NDArray[np.int64], dict[str, int]]:
    """The tiles that have a label, their labels in the plan's order, and the counts."""
    grid, indices = prepared.grid, prepared.plan.indices
    labels = label_tiles(grid, indices, drawn.regions, request.coverage)
    plan = plan_tiles(slide.info, grid, indices[labels >= 0], allow_upsampling=request.upsample)
    label_at = np.full(grid.shape, BETWEEN)
    label_at[tuple(indices.T)] = labels
    return plan, label_at[tuple(plan.indices.T)], _counted(labels, drawn.mended)


def _write_pictures(
    slide: Slide, plan: TilePlan, rows: Sequence[PatchRow], photos: Path, progress: Progress
) -> None:
    size = max(1, BATCH_BYTES // (3 * plan.grid.tile_px**2))
    with (
        ThreadPoolExecutor(usable_cores(), "patches") as pool,
        closing(read_tiles(slide, plan, batch_size=size)) as batches,
    ):
        for batch in batches:
            if progress.should_stop():
                raise Stopped("stopped; the same command goes on with the slide where this one was")
            mine = rows[batch.start : batch.start + len(batch)]
            list(pool.map(lambda row, rgb: _write_picture(photos, row, rgb), mine, batch.rgb))
            progress.advance(len(batch))


def _write_picture(photos: Path, row: PatchRow, rgb: NDArray[np.uint8]) -> None:
    """Its resolution is the file's as well, for programs that read no table."""
    from PIL import Image

    dpi = 1000 * MM_FROM_INCH / row.mpp
    Image.fromarray(rgb).save(photos / row.folder / row.file, dpi=(dpi, dpi))


def _flush(paths: Sequence[Path]) -> None:
    """Disks take many at once for little more than one, and one after each picture for far more."""
    with ThreadPoolExecutor(FLUSH_THREADS, "flush") as pool:
        list(pool.map(flush_file, paths))


def _counted(labels: NDArray[np.int64], mended: int) -> dict[str, int]:
    """Patches by class, what is left out, and outlines that were put right."""
    by_class = {name: int((labels == label).sum()) for label, name in enumerate(CLASSES)}
    return by_class | {
        "between": int((labels == BETWEEN).sum()),
        "disputed": int((labels == DISPUTED).sum()),
        "mended": mended,
    }


def _made_from(
    slides: Sequence[AnnotatedSlide], request: PatchRequest, progress: Progress
) -> dict[str, Any]:
    """JSON. What decides a patch, by bytes and not by path."""
    progress.start("reading", len(slides))
    identities = {}
    for one in slides:
        with open_slide(one.slide, request.slide_mpp, request.reader) as slide:
            identity = slide_identity(slide.info, progress.should_stop)
        drawn = files_identity([one.drawn], str(one.drawn))["sha256"]
        identities[one.name] = {"slide": identity, "annotations": drawn}
        progress.advance(1)
    return {"request": asdict(request), "slides": identities}


def _resume(
    partial: Path, made_from: Mapping[str, Any], overwrite: bool
) -> dict[str, dict[str, int]]:
    """Counts of the slides that a stopped run has cut already."""
    before = _read_record(partial)
    if before.get("made_from") == made_from:
        return dict(before["slides"])
    if before and not overwrite:
        raise StoreMismatch(
            f"{partial} was begun with other slides, annotations or options; take the same again, "
            "another folder, or --overwrite"
        )
    for path in partial.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {}


def _read_record(folder: Path) -> dict[str, Any]:
    """Empty where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_ours = isinstance(record, dict) and {"made_from", "slides"} <= record.keys()
    return record if is_ours else {}


def _write_record(
    partial: Path, made_from: Mapping[str, Any], done: Mapping[str, dict[str, int]]
) -> None:
    record = {"software": f"wsi {__version__}", "made_from": made_from, "slides": done}
    with partial_file(partial / RECORD) as aside:
        aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
        flush_file(aside)
    flush_file(partial)


def _warnings(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    found = []
    if absent := [name for name in CLASSES if not any(c[name] for c in counts.values())]:
        found.append(f"no patch is of class {', '.join(absent)}: recipes need every class")
    if empty := [name for name, c in counts.items() if not any(c[k] for k in CLASSES)]:
        found.append(f"no patch of {', '.join(empty)}: no tissue, or nothing with a label")
    if mended := sum(c["mended"] for c in counts.values()):
        found.append(f"{mended} outlines crossed themselves or left the slide, and were mended")
    return found
