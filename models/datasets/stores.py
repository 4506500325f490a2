"""Labelled pictures decoded once into a store, and read from it in batches."""

from __future__ import annotations

import csv
import fcntl
import glob
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.datasets.cutting import Cut, Rows
from models.datasets.items import BoolArray, Damage, Int64Array, Item, Pictures, refuse_damaged
from models.datasets.reading import UInt8Array, map_pictures, pixels_sha256
from models.errors import DatasetError
from wsi.errors import StoreIncomplete
from wsi.geometry import Size
from wsi.store.folder import partial_path
from wsi.store.rows import RowLayout, RowStore, RowWriter
from wsi.store.tiles import shard_tiles

__all__ = ["LabelledStore", "decoded", "shared_store"]

KIND = "labelled"
CHUNK_BYTES = 1 << 16  # of pixels: a batch drawn at random unpacks this for each row
LOOKS = "pictures.csv"

Progress = Callable[[int, int], None]

logger = logging.getLogger(__name__)


def decoded(
    pictures: Pictures,
    store: Path,
    *,
    how: str = "tile",
    px: int,
    mpp: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LabelledStore:
    """The pictures as uint8 (n, px, px, 3) on disk: decoded now, or by an earlier run from the same
    files in the same way. A run that was stopped goes on where it was.

    how, px, mpp: see Cut. progress is told (done, all) rows. Raises DatasetError where pictures
    cannot be read (it names them), or where the store is of other pictures (without overwrite);
    StoreMismatch where a stopped run was of others.
    """
    cut = Cut(how, px, mpp)
    made_from = _made_from(pictures, cut)
    if store.exists() and not overwrite:
        return _opened(pictures, store, cut, made_from)
    rows = cut.rows(pictures)
    with RowWriter(
        store, _layout(px), rows.xy, made_from, restart=overwrite, overwrite=overwrite
    ) as writer:
        looks = _fill(writer, pictures, rows, cut, progress or (lambda done, total: None))
        _write_looks(partial_path(store) / LOOKS, pictures, looks)
        writer.finish()
    return _opened(pictures, store, cut, made_from)


def shared_store(
    pictures: Pictures, folder: Path, *, how: str = "tile", px: int, mpp: float | None = None
) -> LabelledStore:
    """As decoded(), into a store in `folder` whose name tells what it is made from.

    Two who want the same take turns. Where the pictures have changed they are decoded anew; of the
    stores of what they were before only the last is kept, which somebody may still be reading.
    """
    cut = Cut(how, px, mpp)
    series = _series(pictures, cut)
    digest = _sha256(json.dumps(_made_from(pictures, cut), sort_keys=True))
    store = folder / f"{series}-{digest[:8]}.zarr"
    if store.exists():
        return decoded(pictures, store, how=how, px=px, mpp=mpp)
    with _turn(folder):
        made = decoded(pictures, store, how=how, px=px, mpp=mpp)
        _remove_older(store, series)
    return made


def _series(pictures: Pictures, cut: Cut) -> str:
    """What the names of stores begin with that only changes of the files tell apart."""
    folder = pictures.folder.resolve()
    magnifications = sorted({item.magnification or 0 for item in pictures.items})
    way = _sha256(f"{folder} {pictures.layout} {magnifications} {cut.mpp}")
    return f"{folder.name}-{cut.how}-{cut.px}px-{way[:8]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Waits while another process decodes into the folder. Where the file system has no locks
    nobody waits, and who comes second is told so by the store's own writer."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_older(store: Path, series: str) -> None:
    """All of the series but this one and the last before it that was finished."""
    others = [path for path in store.parent.glob(f"{glob.escape(series)}-*") if path != store]
    finished = [path for path in others if path.suffix == store.suffix]
    kept = max(finished, key=lambda path: path.stat().st_mtime_ns, default=None)
    for path in others:
        if path != kept:
            logger.info("%s: removed; its pictures have changed since", path)
            shutil.rmtree(path, ignore_errors=True)


class Source(Protocol):
    def read(self, rows: Int64Array) -> UInt8Array: ...

    def gather(self, rows: Int64Array) -> UInt8Array: ...


class DiskRows(RowStore):
    """The pixels in the store."""

    def __init__(self, path: Path) -> None:
        """Raises StoreIncomplete, StoreMismatch."""
        super().__init__(path, KIND, "rgb")
        if not self.has_shards(0, len(self)):  # zarr would take a missing one for black
            raise self.damage(0, len(self))

    def read(self, rows: Int64Array) -> UInt8Array:
        """In the order that is asked for. Raises StoreIncomplete."""
        ordered, places = np.unique(rows, return_inverse=True)
        try:
            return np.asarray(self._rows.oindex[ordered], np.uint8)[places]
        except (OSError, ValueError, RuntimeError) as error:
            raise self.damage(int(ordered[0]), int(ordered[-1]) + 1) from error

    def gather(self, rows: Int64Array) -> UInt8Array:
        """The same for many: the store is gone through once. Raises StoreIncomplete."""
        gathered = np.empty((len(rows), *self._rows.shape[1:]), np.uint8)
        step = int(self.attributes["shard_rows"])
        for start in range(0, len(self), step):
            mine = np.flatnonzero((start <= rows) & (rows < start + step))
            if len(mine):
                gathered[mine] = self._read_range(start, start + step)[rows[mine] - start]
        return gathered

    def _read_range(self, start: int, stop: int) -> UInt8Array:
        try:
            return np.asarray(self._rows[start:stop], np.uint8)
        except (OSError, ValueError, RuntimeError) as error:
            raise self.damage(start, min(stop, len(self))) from error


@dataclass(frozen=True)
class MemoryRows:
    rgb: UInt8Array

    def read(self, rows: Int64Array) -> UInt8Array:
        return self.rgb[rows]

    gather = read


@dataclass(frozen=True)
class LabelledStore:
    """Rows of a store with their labels, or some of them.

    pictures: all of the set, with size and sha256. index: int64 (n,), which rows of the store.
    picture: int64 (n,), of each row its place in `pictures.items`. xy: int64 (n, 2).
    """

    pictures: Pictures
    px: int
    index: Int64Array
    picture: Int64Array
    xy: Int64Array
    source: Source

    def __len__(self) -> int:
        return len(self.index)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pictures.classes

    @property
    def label(self) -> Int64Array:
        return self.pictures.label[self.picture]

    @property
    def patient(self) -> npt.NDArray[np.str_]:
        return self.pictures.patient[self.picture]

    @property
    def complete(self) -> BoolArray:
        return self.pictures.complete[self.picture]

    @property
    def patients(self) -> list[str]:
        return sorted(set(self.patient.tolist()))

    def batch(self, index: Int64Array) -> UInt8Array:
        """Pixels of those rows, in that order: uint8 (n, px, px, 3). Raises StoreIncomplete."""
        return self.source.read(self.index[index])

    def select(self, chosen: BoolArray | Int64Array) -> LabelledStore:
        """chosen: a mask (n,), or indices. Pixels stay where they are."""
        return replace(
            self, index=self.index[chosen], picture=self.picture[chosen], xy=self.xy[chosen]
        )

    def of_patients(self, patients: Iterable[str]) -> LabelledStore:
        return self.select(np.isin(self.patient, sorted(patients)))

    def in_memory(self) -> LabelledStore:
        """The same with these rows' pixels in memory, n * px * px * 3 bytes: a batch is a copy
        then, where from disk each row is looked up and unpacked alone."""
        rgb = self.source.gather(self.index)
        return replace(self, source=MemoryRows(rgb), index=np.arange(len(self)))


def _layout(px: int) -> RowLayout:
    fitting = max(1, CHUNK_BYTES // (px * px * 3))
    return RowLayout(
        kind=KIND,
        array="rgb",
        row_shape=(px, px, 3),
        dtype="uint8",
        shard_rows=shard_tiles(px),
        chunk_rows=min(shard_tiles(px), 1 << (fitting.bit_length() - 1)),
        fill_value=0,
        attributes={"px": px},
    )


def _made_from(pictures: Pictures, cut: Cut) -> dict[str, Any]:
    """JSON. Labels are no part of it: two ways to call the classes share a store."""
    return {
        "pictures": len(pictures),
        "files_sha256": _files_sha256(pictures),
        "how": cut.how,
        "px": cut.px,
        "mpp": cut.mpp,
    }


def _files_sha256(pictures: Pictures) -> str:
    """Of names, sizes and times of change: to read 277,000 files for their bytes alone would cost
    as much as to decode them."""
    stamps: dict[Path, str] = {}
    digest = hashlib.sha256()
    for item in pictures.items:
        if item.path not in stamps:
            stamps[item.path] = _stamp(item)
        digest.update(f"{item.where}\n{stamps[item.path]}\n{item.mpp}\n".encode())
    return digest.hexdigest()


def _stamp(item: Item) -> str:
    try:
        found = item.path.stat()
    except OSError as error:
        raise DatasetError(
            f"{item.where} cannot be read ({error.strerror}); copy it again"
        ) from error
    return f"{found.st_size} {found.st_mtime_ns}"


@dataclass(frozen=True)
class Look:
    size: Size
    sha256: str
    rows: UInt8Array | None = None


def _fill(
    writer: RowWriter, pictures: Pictures, rows: Rows, cut: Cut, progress: Progress
) -> dict[int, Look]:
    """Writes what is missing; returns what was seen of every picture."""
    looks: dict[int, Look] = {}
    damaged: list[Damage] = []
    done = len(writer) - sum(map(len, writer.missing))
    for missing in writer.missing:
        chosen = np.unique(rows.picture[missing.start : missing.stop]).tolist()
        made = map_pictures(pictures, lambda item, rgb: _look(item, rgb, cut), chosen)
        for i, look in zip(chosen, made, strict=True):
            if isinstance(look, Damage):
                damaged.append(look)
                continue
            looks[i] = replace(look, rows=None)
            if not damaged and look.rows is not None:  # the rest is read to name all at once
                done += _write(writer, missing, rows.of(i), look.rows)
                progress(done, len(writer))
    refuse_damaged(pictures.folder, damaged, len(pictures))
    return looks


def _look(item: Item, rgb: UInt8Array, cut: Cut | None = None) -> Look:
    size = Size(rgb.shape[1], rgb.shape[0])
    return Look(size, pixels_sha256(rgb), None if cut is None else cut.apply(item, rgb))


def _write(writer: RowWriter, missing: range, mine: range, made: UInt8Array) -> int:
    """A picture's rows may lie across the border of what is missing."""
    start, stop = max(missing.start, mine.start), min(missing.stop, mine.stop)
    writer.write(start, made[start - mine.start : stop - mine.start])
    return stop - start


def _write_looks(path: Path, pictures: Pictures, looks: dict[int, Look]) -> None:
    """What an earlier, stopped run had seen is looked at once more."""
    unseen = [i for i in range(len(pictures)) if i not in looks]
    for i, look in zip(unseen, map_pictures(pictures, _look, unseen), strict=True):
        if isinstance(look, Damage):
            refuse_damaged(pictures.folder, [look], len(pictures))
        else:
            looks[i] = look
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(("where", "width", "height", "sha256"))
        for i, item in enumerate(pictures.items):
            writer.writerow((item.where, *looks[i].size, looks[i].sha256))


def _opened(pictures: Pictures, store: Path, cut: Cut, made_from: dict[str, Any]) -> LabelledStore:
    source = DiskRows(store)
    if differing := [k for k in made_from if source.made_from.get(k) != made_from[k]]:
        raise DatasetError(
            f"{store} is made from something else ({', '.join(differing)} differ); ask for it to "
            "be overwritten, or name another"
        )
    seen = pictures.with_items(_with_looks(pictures, store / LOOKS))
    rows = cut.rows(seen)
    return LabelledStore(
        seen, cut.px, np.arange(len(source), dtype=np.int64), rows.picture, rows.xy, source
    )


def _with_looks(pictures: Pictures, path: Path) -> list[Item]:
    try:
        with path.open(newline="", encoding="utf-8") as table:
            found = [
                replace(
                    item, size=Size(int(row["width"]), int(row["height"])), sha256=row["sha256"]
                )
                for item, row in zip(pictures.items, csv.DictReader(table), strict=True)
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreIncomplete(f"{path} is damaged; make the store again") from error
    return found
