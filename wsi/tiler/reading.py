"""Plan to pixels: blocks decoded ahead in threads, each tile resampled once, in order."""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from wsi import __version__
from wsi.cores import usable_cores
from wsi.errors import StoreIncomplete, StoreMismatch
from wsi.slide import Slide
from wsi.store import TileStore, shard_tiles
from wsi.tiler.batches import Batches, TileBatch
from wsi.tiler.cutter import Cutter
from wsi.tiler.plan import Block, TilePlan

__all__ = ["holds_tiles", "read_tiles", "write_tiles"]


def read_tiles(
    slide: Slide,
    plan: TilePlan,
    *,
    batch_size: int,
    first: int = 0,
    stop: int | None = None,
    workers: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_read: Callable[[int], object] | None = None,
) -> Generator[TileBatch, None, None]:
    """Tiles `first` to `stop` of the plan, in its order, `batch_size` at a time (the last fewer).

    Memory: about 2 * workers blocks and one row of the tiles that straddle blocks, however large
    the slide is. workers: threads that decode; by default one a processor, at most 8. should_stop
    is asked before each block; after True no more batches come. on_read is told how many native
    tiles were read from the slide, block by block. Closing the iterator, or an error, stops the
    threads. Raises CorruptSlide.
    """
    part = slice(first, len(plan) if stop is None else stop)
    count = len(range(*part.indices(len(plan))))
    batches = Batches(part.indices(len(plan))[0], count, batch_size, plan.grid.tile_px)
    cutter, start, done = Cutter(slide, plan, batches), 0, 0
    with closing(_cut_in_order(cutter, plan.blocks(part), workers, should_stop)) as blocks:
        for block in blocks:
            done += block.finished
            if on_read is not None:
                on_read(block.native_tiles)
            while start < count and done - start >= batches.length(start):
                batch = batches.take(start)
                start += len(batch)
                yield batch


def write_tiles(
    slide: Slide,
    plan: TilePlan,
    path: Path,
    made_from: Mapping[str, Any],
    *,
    workers: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    restart: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> None:
    """Reads all tiles of the plan into a TileStore; goes on where a stopped run was.

    made_from: JSON, what identifies the slide and the mask; the grid and the level are added.
    batch_size: tiles in memory at once; by default 64, or a shard of 32 MiB where that is fewer.
    on_progress is told how many tiles more are written.
    Raises CorruptSlide, StoreMismatch, ResultExists; StoreIncomplete after should_stop.
    """
    tile_px = plan.grid.tile_px
    with TileStore.create(
        path, plan.xy0, tile_px, _all_of(plan, made_from), restart=restart, overwrite=overwrite
    ) as writer:
        for missing in writer.missing:
            batches = read_tiles(
                slide,
                plan,
                batch_size=batch_size or min(64, shard_tiles(tile_px)),
                first=missing.start,
                stop=missing.stop,
                workers=workers,
                should_stop=should_stop,
            )
            with closing(batches):
                for batch in batches:
                    writer.write(batch.start, batch.rgb)
                    if on_progress is not None:
                        on_progress(len(batch))
        writer.finish()


def holds_tiles(path: Path, plan: TilePlan, made_from: Mapping[str, Any]) -> bool:
    """Whether a complete, undamaged store is there that write_tiles() would write again."""
    try:
        store = TileStore.open(path)
        store.verify()
    except (StoreIncomplete, StoreMismatch):
        return False
    wanted = json.loads(json.dumps(_all_of(plan, made_from)))
    same_software = store.attributes["software"] == f"wsi {__version__}"
    return same_software and store.made_from == wanted and np.array_equal(store.xy0, plan.xy0)


def _all_of(plan: TilePlan, made_from: Mapping[str, Any]) -> dict[str, Any]:
    return {"grid": plan.grid.to_json(), "level": plan.level, **made_from}


def _cut_in_order(
    cutter: Cutter,
    blocks: Iterator[Block],
    workers: int | None,
    should_stop: Callable[[], bool] | None,
) -> Generator[Block, None, None]:
    """Blocks whose tiles are cut, and those of all before them. The caller closes it."""
    ahead: deque[tuple[Block, Future[None]]] = deque()
    threads = workers or _processors()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tiler")
    try:
        while True:
            for block in islice(blocks, 2 * threads - len(ahead)):
                ahead.append((block, pool.submit(cutter.cut, block)))
            if not ahead or (should_stop is not None and should_stop()):
                return
            block, cut = ahead.popleft()
            cut.result()
            yield block
    finally:  # what is being read ends in milliseconds, and needs the slide until then
        pool.shutdown(wait=True, cancel_futures=True)


def _processors() -> int:
    return min(8, usable_cores())
