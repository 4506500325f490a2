"""Tiles to scores on disk. Scoring may begin before it is known where they go."""

import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.infer import Classifier, ScoredBatch, score_tiles
from models.scorer import Scorer, channels_of
from service.errors import Stopped
from service.progress import StageClock
from service.records import NativeReads
from service.results import SCORES, work_sha256
from wsi.errors import StoreIncomplete, StoreMismatch
from wsi.heap import give_back_memory
from wsi.slide import Slide
from wsi.store import RowWriter, ScoreStore
from wsi.tiler import TileBatch, TilePlan, read_tiles

__all__ = ["Scoring", "Turn"]

Turn = Callable[[], AbstractContextManager[object]]
"""Held while the network is used, by slides that share one: the next has its first tiles by then.
"""

GIVE_BACK_S = 3.0
"""Memory is given back so often while a CPU scores, in 20 to 30 ms: about 1 % of the time."""


class Scoring:
    """The tiles of one slide, through the network. Close it."""

    def __init__(
        self,
        slide: Slide,
        plan: TilePlan,
        classifier: Callable[[], Classifier],
        clock: StageClock,
        turn: Turn = nullcontext,
        *,
        tta: bool = False,
    ) -> None:
        """tta: as of Scorer."""
        self.device = "none"  # on what scores were made, in this run
        self.reads = NativeReads()  # what this run read for them
        self._slide, self._plan, self._clock = slide, plan, clock
        self._classifier, self._turn, self._tta = classifier, turn, tta
        self._early: list[ScoredBatch] = []
        self._all = self._scored(range(len(plan)))
        self._begun = False

    def begin(self, is_enough: Callable[[], bool]) -> None:
        """Scores into memory until `is_enough`, which is asked after each batch. Raises Stopped."""
        self._begun = True
        while not is_enough() and (scored := next(self._all, None)) is not None:
            self._early.append(scored)

    def finish(
        self, folder: Path, work: Mapping[str, Any], card: ModelCard
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """In the order of the plan: probabilities, float32 (tiles, classes), and channels by name,
        each float32 (tiles,). Raises Stopped.

        Shards go to disk as they are done; what a stopped run left whole is not done again.
        """
        store, plan, progress = folder / SCORES, self._plan, self._clock.progress
        if not _is_whole(store):
            channels = channels_of(card, tta=self._tta)
            made_from = {"work_sha256": work_sha256(work), "grid": plan.grid.to_json()}
            create = partial(
                ScoreStore.create, store, plan.xy0, card.classes, made_from, channels=channels
            )
            with self._clock.stage("score", len(plan)), self._begun_store(create) as writer:
                progress.advance(len(plan) - sum(map(len, writer.missing)))
                for rows in writer.missing:
                    with closing(self._from(rows)) as scores:
                        for scored in scores:
                            writer.write(scored.start, scored.prob)
                            progress.advance(len(scored.prob))
                writer.finish()
        whole = ScoreStore.open(store)
        return whole.prob, whole.channels

    def close(self) -> None:
        self._all.close()

    def _begun_store(self, create: Callable[..., RowWriter]) -> RowWriter:
        """While the disk takes a new store, what has begun goes on: no core waits."""
        if not self._begun:
            return create(restart=True)
        with ThreadPoolExecutor(1, "scores") as thread:
            creating = thread.submit(create, restart=True)
            try:
                self.begin(creating.done)
            except BaseException:
                creating.result().close()
                raise
            return creating.result()

    def _from(self, rows: range) -> Generator[ScoredBatch, None, None]:
        if self._begun and rows == range(len(self._plan)):
            yield from self._early
            yield from self._all
        else:
            yield from self._scored(rows)

    def _scored(self, rows: range) -> Generator[ScoredBatch, None, None]:
        """Threads read ahead while the network works, and before it is this slide's turn."""
        if not rows:
            return
        scorer, plan = Scorer(self._classifier(), tta=self._tta), self._plan
        self.device = scorer.device
        self.reads.needed += plan.count_native(slice(rows.start, rows.stop))
        size, on_read = scorer.batch_size, self.reads.add
        with closing(
            read_tiles(
                self._slide,
                plan,
                batch_size=size,
                first=rows.start,
                stop=rows.stop,
                on_read=on_read,
            )
        ) as batches:
            first = list(islice(batches, 1))
            with self._turn():
                for scored in _predicted(scorer, chain(first, batches)):
                    yield scored
                    self._require_going()

    def _require_going(self) -> None:
        if self._clock.progress.should_stop():
            path = self._slide.info.path
            raise Stopped(f"{path}: stopped; the next run goes on where it was")


def _predicted(scorer: Scorer, batches: Iterable[TileBatch]) -> Iterator[ScoredBatch]:
    """On a CPU reading and network share the cores, and disturb each other more than they gain:
    there they take turns, a few blocks are read ahead all the same."""
    if not scorer.device.startswith("cpu"):
        yield from score_tiles(scorer, batches)
        return
    give_back_at = time.monotonic() + GIVE_BACK_S
    for batch in batches:
        yield ScoredBatch(batch.start, scorer.predict(batch.rgb))
        if time.monotonic() >= give_back_at:
            give_back_memory()
            give_back_at = time.monotonic() + GIVE_BACK_S


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
