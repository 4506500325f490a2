"""Many slides on dask.distributed: a slide is a task, safe to run twice."""

import csv
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from service.batch_list import BatchTask
from service.cluster import TaskProgress, connect, own_device
from service.progress import Progress, Silent
from service.request import HeatmapRequest
from wsi.address import hide_secrets, public_path

if TYPE_CHECKING:
    from distributed import Client, Future

    from models.card import ModelCard
    from models.infer import Classifier

__all__ = ["SUMMARY", "BatchOutcome", "BatchRow", "SharedClassifier", "run_batch", "run_task"]

logger = logging.getLogger(__name__)

SUMMARY = "summary.csv"


@dataclass(frozen=True)
class BatchRow:
    """What became of one slide: a line of summary.csv."""

    slide: str
    folder: str
    status: str  # done, kept, no-tissue, failed
    tiles: int = 0
    tissue_mm2: float | None = None
    positive_mm2: float | None = None
    max_prob: float | None = None
    seconds: float = 0.0
    warnings: str = ""
    reason: str = ""  # of a failure


@dataclass(frozen=True)
class BatchOutcome:
    rows: tuple[BatchRow, ...]
    summary: Path

    @property
    def failed(self) -> tuple[BatchRow, ...]:
        return tuple(row for row in self.rows if row.status == "failed")

    def to_json(self) -> dict[str, Any]:
        return {"summary": str(self.summary), "slides": [vars(row) for row in self.rows]}

    def to_text(self) -> str:
        counts = Counter(row.status for row in self.rows)
        lines = [
            f"failed: {row.reason}"
            if row.slide in row.reason
            else f"failed: {row.slide}: {row.reason}"
            for row in self.failed
        ]
        total = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        return "\n".join([*lines, f"{len(self.rows)} slides: {total}; see {self.summary}"])


def run_batch(
    tasks: Sequence[BatchTask],
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BatchOutcome:
    """Runs every task and writes `out`/summary.csv line by line as slides end.

    `scheduler`: address of a Dask cluster that sees the same paths; None: a local one. A failed
    slide is a row with its reason, and the others go on.
    """
    progress = progress or Silent()
    out.mkdir(parents=True, exist_ok=True)
    progress.start("slides", len(tasks))
    rows: list[BatchRow] = []
    listed = max((task.request.device.count(",") for task in tasks), default=0) + 1
    several = listed if listed > 1 else None  # a process each of the devices that are named
    with connect(scheduler, workers or several) as client, _summary(out / SUMMARY) as write:
        for row in _rows(client, tasks, overwrite):
            rows.append(row)
            write(row)
            progress.advance(1)
    return BatchOutcome(tuple(sorted(rows, key=lambda row: row.slide)), out / SUMMARY)


def run_task(task: BatchTask, overwrite: bool) -> BatchRow:
    """One slide, in a worker. What was foreseen becomes a failed row."""
    from models.errors import ModelError
    from models.registry import resolve_model
    from service.errors import ServiceError
    from service.pipeline import make_heatmap
    from wsi.errors import WsiError

    try:
        card, _ = resolve_model(task.request.model)
        result = make_heatmap(
            task.request,
            task.folder,
            card,
            lambda: _resident(task.request),
            overwrite=overwrite,
            progress=TaskProgress(),
            turn=lambda: _TURN,
        )
    except (WsiError, ModelError, ServiceError, OSError) as error:
        row = _failed(task, str(error))
        logger.info("slide=%s failed: %s", row.slide, row.reason)
        return row
    return _row(task, result.manifest, result.run, kept=result.kept)


def _rows(client: "Client", tasks: Sequence[BatchTask], overwrite: bool) -> Iterator[BatchRow]:
    """As they end. Slides whose worker died are tried again at the end, one at a time: a slide
    that kills its worker takes those beside it along, and they are no failures."""
    suspects = []
    for task, future in _ended(client, tasks, overwrite):
        if _lost_its_worker(future.exception()):
            suspects.append(task)
        else:
            yield _result_of(future, task)
    for suspect in suspects:
        for task, future in _ended(client, [suspect], overwrite):
            yield _result_of(future, task)


def _ended(
    client: "Client", tasks: Sequence[BatchTask], overwrite: bool
) -> Iterator[tuple[BatchTask, "Future[BatchRow]"]]:
    from distributed import as_completed

    futures = {
        # a key of its own: a cluster that others use too would give us their slide's row
        client.submit(run_task, task, overwrite, key=f"slide-{uuid4().hex}", pure=False): task
        for task in tasks
    }
    try:
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        client.cancel(list(futures))


def _result_of(future: "Future[BatchRow]", task: BatchTask) -> BatchRow:
    error = future.exception()
    if error is None:
        row: BatchRow = future.result()
        return row
    if _lost_its_worker(error):
        reason = "its worker process died each time (out of memory, or a crash in a decoder)"
        return _failed(task, reason)
    return _failed(task, f"{type(error).__name__}: {error}")


def _lost_its_worker(error: BaseException | None) -> bool:
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


def _failed(task: BatchTask, reason: str) -> BatchRow:
    slide = task.request.slide
    reason = hide_secrets(reason, slide)  # the table is shared, passwords are not
    return BatchRow(public_path(slide), str(task.folder), "failed", reason=reason)


def _row(task: BatchTask, manifest: dict[str, Any], run: dict[str, Any], *, kept: bool) -> BatchRow:
    summary = manifest["summary"]
    empty = manifest["outcome"] == "no-tissue"
    return BatchRow(
        slide=public_path(task.request.slide),
        folder=str(task.folder),
        status="kept" if kept else "no-tissue" if empty else "done",
        tiles=manifest["tiles"],
        tissue_mm2=summary["tissue_mm2"],
        positive_mm2=summary["positive_tissue_mm2"],
        max_prob=None if empty else summary["prob"]["max"],
        seconds=round(sum(run.get("seconds", {}).values()), 2),
        warnings="; ".join(manifest["warnings"]),
    )


@contextmanager
def _summary(path: Path) -> Iterator[Any]:
    """A function that adds a line to the CSV and flushes it, so that a reader sees it at once."""
    names = [field.name for field in fields(BatchRow)]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        file.flush()

        def write(row: BatchRow) -> None:
            table.writerow(vars(row))
            file.flush()

        yield write


_LOADING = threading.Lock()

_TURN = threading.Lock()
"""One slide of a worker is scored at a time, as a whole: slides that alternated would end together,
and nobody would use the network while all of them are written and the next are opened."""


def _resident(request: HeatmapRequest) -> "Classifier":
    """This process's one model, loaded with the first slide."""
    with _LOADING:  # two threads that come first must not load two
        device = own_device(request.device)
        return _load(
            request.model, device, request.batch_size, request.precision, request.trust_code
        )


@lru_cache(maxsize=1)
def _load(
    model: str, device: str, batch_size: int, precision: str, trust_code: bool
) -> "Classifier":
    from models.infer import load_classifier
    from service.settings import MachineSettings

    return SharedClassifier(
        load_classifier(
            model,
            device,
            batch_size=batch_size,
            precision=precision,
            trust_code=trust_code,
            tuning=MachineSettings().tunings,  # of the worker's own machine
        )
    )


class SharedClassifier:
    """A classifier that the slides of a worker use one after the other."""

    def __init__(self, classifier: "Classifier") -> None:
        self._classifier = classifier

    @property
    def card(self) -> "ModelCard":
        return self._classifier.card

    @property
    def device(self) -> str:
        return self._classifier.device

    @property
    def batch_size(self) -> int:
        return self._classifier.batch_size

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._classifier.predict(rgb)

    def predict_raw(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._classifier.predict_raw(rgb)

    def close(self) -> None:
        """Stays: the next slide uses it."""
