"""Plan to pixels: blocks decoded ahead in threads, each tile resampled once, in order."""

import json
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi import __version__
from wsi.cores import usable_cores
from wsi.errors import StoreIncomplete, StoreMismatch
from wsi.geometry import Box
from wsi.slide import RGB, Slide
from wsi.store import TileStore, shard_tiles
from wsi.tiler.plan import Block, TilePlan
from wsi.tiler.resampler import Straddler, resample_tile

__all__ = ["TileBatch", "holds_tiles", "read_tiles", "write_tiles"]


@dataclass(frozen=True)
class TileBatch:
    """Tiles in the order of their plan; the receiver owns the array."""

    rgb: NDArray[np.uint8]  # (n, tile_px, tile_px, 3), RGB
    start: int  # place of the first one in the plan

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True)
class Cut:
    """What one tile gets out of one block."""

    position: int  # of the tile in the plan
    pixels: NDArray[np.uint8] | None  # of the level; None where the whole tile is in its batch
    box: Box  # those pixels, px of the level


class _Batches:
    """Batches that are filled tile by tile, by several threads; each is made when it is needed."""

    def __init__(self, first: int, count: int, batch_size: int, tile_px: int) -> None:
        self._first, self._count, self._size = first, count, batch_size
        self._tile_px = tile_px
        self._lock = threading.Lock()
        self._made: dict[int, NDArray[np.uint8]] = {}

    def room_for(self, position: int) -> NDArray[np.uint8]:
        """(tile_px, tile_px, 3): where the tile of that place in the plan is to be written."""
        batch, place = divmod(position - self._first, self._size)
        with self._lock:
            if batch not in self._made:
                length = min(self._size, self._count - batch * self._size)
                self._made[batch] = np.empty((length, self._tile_px, self._tile_px, 3), np.uint8)
            room: NDArray[np.uint8] = self._made[batch][place]
            return room

    def take(self, start: int) -> NDArray[np.uint8]:
        """The batch that begins `start` tiles after the first."""
        with self._lock:
            return self._made.pop(start // self._size)


def read_tiles(
    slide: Slide,
    plan: TilePlan,
    *,
    batch_size: int,
    first: int = 0,
    stop: int | None = None,
    workers: int | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Generator[TileBatch, None, None]:
    """Tiles `first` to `stop` of the plan, in its order, `batch_size` at a time (the last fewer).

    Memory: about 2 * workers blocks and one row of the tiles that straddle blocks, however large
    the slide is. workers: threads that decode; by default one a processor, at most 8. should_stop
    is asked before each block; after True no more batches come. Closing the iterator, or an error,
    stops the threads. Raises CorruptSlide.
    """
    part = slice(first, len(plan) if stop is None else stop)
    count = len(range(*part.indices(len(plan))))
    batches = _Batches(part.indices(len(plan))[0], count, batch_size, plan.grid.tile_px)
    decoders = workers or _processors()
    with closing(_read_in_order(slide, plan, part, decoders, should_stop, batches)) as done:
        for start in range(0, count, batch_size):
            length = min(batch_size, count - start)
            if sum(1 for _ in islice(done, length)) < length:
                return
            yield TileBatch(batches.take(start), first + start)


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


def _read_in_order(
    slide: Slide,
    plan: TilePlan,
    part: slice,
    workers: int,
    should_stop: Callable[[], bool] | None,
    batches: _Batches,
) -> Generator[int, None, None]:
    """Places in the plan of the tiles that are in their batch, in order. The caller closes it."""
    blocks = plan.blocks(part)
    straddlers: dict[int, Straddler] = {}
    ahead: deque[tuple[Block, Future[list[Cut]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tiler")
    try:
        while True:
            for block in islice(blocks, workers + 1 - len(ahead)):
                ahead.append((block, pool.submit(_cut_block, slide, plan, block, batches)))
            if not ahead or (should_stop is not None and should_stop()):
                return
            block, cuts = ahead.popleft()
            background = slide.info.background
            yield from _finished(plan, block, cuts.result(), straddlers, batches, background)
    finally:  # what is being read ends in milliseconds, and needs the slide until then
        pool.shutdown(wait=True, cancel_futures=True)


def _cut_block(slide: Slide, plan: TilePlan, block: Block, batches: _Batches) -> list[Cut]:
    pixels, frame = _read_block(slide, plan, block)
    cuts = []
    for position in block.positions.tolist():
        row, column = plan.indices[position].tolist()
        box = plan.box(row, column)
        inside = box.intersection(block.box)
        view = pixels[
            inside.y - frame.y : inside.bottom - frame.y,
            inside.x - frame.x : inside.right - frame.x,
        ]
        if inside == box:
            room = batches.room_for(position)
            resample_tile(plan, row, column, view, slide.info.background, room)
        cuts.append(Cut(position, None if inside == box else view, inside))
    return cuts


def _read_block(slide: Slide, plan: TilePlan, block: Block) -> tuple[NDArray[np.uint8], Box]:
    """The needed pixels in their frame; what is between them is left as it is."""
    if len(block.reads) == 1:
        return slide.read_level(plan.level, block.reads[0]), block.reads[0]
    left, top = min(box.x for box in block.reads), min(box.y for box in block.reads)
    right, bottom = max(box.right for box in block.reads), max(box.bottom for box in block.reads)
    pixels = np.empty((bottom - top, right - left, 3), np.uint8)
    for box in block.reads:
        inside = pixels[box.y - top : box.bottom - top, box.x - left : box.right - left]
        inside[...] = slide.read_level(plan.level, box)
    return pixels, Box(left, top, right - left, bottom - top)


def _finished(
    plan: TilePlan,
    block: Block,
    cuts: list[Cut],
    straddlers: dict[int, Straddler],
    batches: _Batches,
    background: RGB,
) -> Iterator[int]:
    for cut in cuts:
        if cut.pixels is None:
            yield cut.position
            continue
        row, column = plan.indices[cut.position].tolist()
        straddler = straddlers.get(cut.position) or Straddler(plan, row, column, background)
        straddlers[cut.position] = straddler
        tile = straddler.add(block, cut.pixels, cut.box)
        if tile is not None:
            del straddlers[cut.position]
            batches.room_for(cut.position)[...] = tile
            yield cut.position


def _processors() -> int:
    return min(8, usable_cores())
