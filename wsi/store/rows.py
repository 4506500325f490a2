"""An array with one row a tile, in shards; a stopped run goes on at the first missing shard."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from wsi import __version__
from wsi.errors import StoreIncomplete, StoreMismatch
from wsi.store.folder import (
    ATTRIBUTES,
    PARTIAL,
    SCHEMA_VERSION,
    create_group,
    flush_file,
    flush_tree,
    name_file,
    open_group,
    partial_path,
    publish,
    read_attributes,
    require_free,
)
from wsi.store.journal import FolderLock, Journal, read_journal, sha256_of

if TYPE_CHECKING:
    import zarr

__all__ = ["RowLayout", "RowStore", "RowWriter"]


@dataclass(frozen=True)
class RowLayout:
    """The array of one kind of store."""

    kind: str  # "tiles" or "scores"
    array: str  # its name in the group
    row_shape: tuple[int, ...]
    dtype: str
    shard_rows: int  # what is written, flushed and lost as one
    chunk_rows: int  # what is compressed and read as one; divides shard_rows
    fill_value: float
    attributes: Mapping[str, Any] = field(default_factory=dict)  # JSON

    def create(self, group: "zarr.Group", count: int) -> None:
        from zarr.codecs import ZstdCodec

        chunks = (self.chunk_rows, *self.row_shape)
        shards = (self.shard_rows, *self.row_shape)
        group.create_array(
            self.array,
            shape=(count, *self.row_shape),
            dtype=self.dtype,
            chunks=chunks,
            shards=None if shards == chunks else shards,
            # tissue tiles, measured: level 1 packs them as well as 3 or 5 at over twice the rate
            compressors=ZstdCodec(level=1, checksum=True),
            fill_value=self.fill_value,
        )


class RowWriter:
    """Writes a store aside, shard by shard, and puts it in place at the end.

    Use it in a `with` block: leaving it without finish() keeps what is done for the next run.
    """

    def __init__(
        self,
        path: Path,
        layout: RowLayout,
        xy0: NDArray[np.int64],
        made_from: Mapping[str, Any],
        *,
        restart: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Goes on with what a stopped run left, if that was made from the same things.

        xy0: level-0 top left of each tile, (n, 2), in the order of the rows. made_from: JSON, all
        that determines the rows. restart: throw away what was made from other things.
        Raises StoreMismatch (without restart), ResultExists (without overwrite), StoreLocked
        where another process is writing it.
        """
        require_free(path, overwrite)
        self.path, self._overwrite, self._layout = path, overwrite, layout
        self._xy0 = np.ascontiguousarray(xy0, np.int64)
        self._partial = partial_path(path)
        self._header = _header(layout, self._xy0, made_from)
        self._lock = FolderLock(self._partial)
        self._journal = Journal(self._partial)
        self._buffer: list[NDArray[Any]] = []
        self._start, self._buffered = 0, 0  # row of the buffer's first, rows in it
        try:
            _remove_half_written(self._partial)
            resumed = self._resumed(restart)
            self._array = self._begun() if resumed is None else resumed
            self._done = self._sound_shards()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._xy0)

    @property
    def shard_rows(self) -> int:
        return self._layout.shard_rows

    @property
    def done(self) -> frozenset[int]:
        """Shards that are on disk, flushed, and as their checksum says."""
        return frozenset(self._done)

    @property
    def missing(self) -> list[range]:
        """The rows that are still to be written: maximal ranges that begin at a shard's border."""
        ranges: list[range] = []
        for shard in range(self._shards):
            rows = self._rows_of(shard)
            if shard in self._done:
                continue
            if ranges and ranges[-1].stop == rows.start:
                rows = range(ranges.pop().start, rows.stop)
            ranges.append(rows)
        return ranges

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Adds rows start, start + 1 …; what fills a shard goes to disk.

        Begin at a range of `missing` and go on to its end without a gap. Raises StoreMismatch.
        """
        expected = self._start + self._buffered
        if self._buffered and start != expected:
            raise StoreMismatch(f"{self.path}: row {start} was given where {expected} is next")
        if not self._buffered and start % self.shard_rows:
            raise StoreMismatch(f"{self.path}: row {start} is not the first of a shard")
        if rows.shape[1:] != self._layout.row_shape or start + len(rows) > len(self):
            raise StoreMismatch(
                f"{self.path}: rows {rows.shape} at {start} do not fit "
                f"{(len(self), *self._layout.row_shape)}"
            )
        if not self._buffered:
            self._start = start
        self._buffer.append(np.array(rows, self._layout.dtype))
        self._buffered += len(rows)
        self._write_full_shards()

    def finish(self) -> None:
        """Flushes everything and renames the folder. StoreIncomplete where rows are missing."""
        if self.missing:
            first = self.missing[0]
            raise StoreIncomplete(
                f"{self._partial}: tiles {first.start} to {first.stop - 1} of {len(self)} are not "
                "written yet; run the same command again, it goes on where it was"
            )
        self._journal.settle(self._done)
        publish(self._partial, self.path, overwrite=self._overwrite)
        self.close()

    def close(self) -> None:
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        name_file(error, self._partial)
        self.close()

    @property
    def _shards(self) -> int:
        return -(-len(self) // self.shard_rows)

    def _rows_of(self, shard: int) -> range:
        return range(shard * self.shard_rows, min(len(self), (shard + 1) * self.shard_rows))

    def _resumed(self, restart: bool) -> Any:
        """The array of an unfinished store made from the same; None where there is none."""
        group: Any = _readable_group(self._partial)
        found = read_attributes(group) if group is not None else {}
        if not found:
            return None
        if found == self._header and _has_positions(group, self._xy0):
            return group[self._layout.array].with_config({"write_empty_chunks": True})
        if restart or found == self._header:  # asked for, or its positions are damaged
            return None
        differing = [k for k in self._header if found.get(k) != self._header[k]]
        raise StoreMismatch(
            f"{self._partial}: the stopped run was made from something else "
            f"({_differences(found, self._header, differing)}); delete the folder, "
            "or ask for it to be overwritten"
        )

    def _begun(self) -> Any:
        for entry in self._partial.iterdir():  # not the folder itself: the lock is on it
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        group: Any = create_group(self._partial)
        self._layout.create(group, len(self))
        group.create_array("xy0", data=self._xy0)
        flush_tree(self._partial)
        group.attrs[ATTRIBUTES] = self._header  # last: a folder without it holds nothing yet
        flush_file(self._partial / "zarr.json")
        flush_file(self._partial)
        return group[self._layout.array].with_config({"write_empty_chunks": True})

    def _sound_shards(self) -> dict[int, str]:
        journal = read_journal(self._partial)
        return {
            shard: sha256
            for shard, sha256 in journal.items()
            if shard < self._shards
            and sha256_of(_file_of(self._partial, self._array, shard)) == sha256
        }

    def _write_full_shards(self) -> None:
        while self._buffered:
            rows = self._rows_of(self._start // self.shard_rows)
            if self._buffered < len(rows):
                return
            pending = np.concatenate(self._buffer) if len(self._buffer) > 1 else self._buffer[0]
            self._write_shard(self._start // self.shard_rows, pending[: len(rows)])
            self._buffer = [pending[len(rows) :]]
            self._buffered -= len(rows)
            self._start += len(rows)

    def _write_shard(self, shard: int, values: NDArray[Any]) -> None:
        rows = self._rows_of(shard)
        file = _file_of(self._partial, self._array, shard)
        file.unlink(missing_ok=True)  # zarr would first decode what is there, damaged or not
        self._array[rows.start : rows.stop] = values
        flush_file(file)
        for folder in file.relative_to(self._partial).parents:
            flush_file(self._partial / folder)
        sha256 = sha256_of(file)
        self._journal.add(shard, sha256)
        self._done[shard] = sha256


class RowStore:
    """A complete store, to read."""

    def __init__(self, path: Path, kind: str, array: str) -> None:
        """Raises StoreIncomplete, StoreMismatch."""
        group: Any = open_group(path, kind)
        self.path = path
        self._rows = group[array]
        self.attributes = read_attributes(group)
        self.xy0: NDArray[np.int64] = np.asarray(group["xy0"][...])
        if _sha256(self.xy0) != self.attributes["xy0_sha256"]:
            raise StoreIncomplete(f"{path}: its positions are damaged; make the store again")

    def __len__(self) -> int:
        return len(self.xy0)

    @property
    def made_from(self) -> dict[str, Any]:
        return dict(self.attributes["made_from"])

    def has_shards(self, start: int, stop: int) -> bool:
        """Whether the files of those rows are there; what is in them is not looked at."""
        per_shard = self.attributes["shard_rows"]
        shards = range(start // per_shard, -(-stop // per_shard))
        return all(_file_of(self.path, self._rows, shard).is_file() for shard in shards)

    def damage(self, start: int, stop: int) -> StoreIncomplete:
        return StoreIncomplete(
            f"{self.path}: tiles {start} to {stop - 1} cannot be read; make the store again"
        )

    def verify(self) -> None:
        """Reads every shard's bytes. Raises StoreIncomplete where a checksum is wrong."""
        journal = read_journal(self.path)
        for shard in range(-(-len(self) // self.attributes["shard_rows"])):
            if sha256_of(_file_of(self.path, self._rows, shard)) != journal.get(shard):
                raise StoreIncomplete(
                    f"{self.path}: shard {shard} is damaged or missing; make the store again"
                )


def _header(
    layout: RowLayout, xy0: NDArray[np.int64], made_from: Mapping[str, Any]
) -> dict[str, Any]:
    header = {
        "kind": layout.kind,
        "schema_version": SCHEMA_VERSION,
        "software": f"wsi {__version__}",
        "count": len(xy0),
        "shard_rows": layout.shard_rows,
        "xy0_sha256": _sha256(xy0),
        "made_from": dict(made_from),
        **layout.attributes,
    }
    as_read: dict[str, Any] = json.loads(json.dumps(header))
    return as_read


def _sha256(xy0: NDArray[np.int64]) -> str:
    return hashlib.sha256(xy0.astype("<i8").tobytes()).hexdigest()


def _remove_half_written(folder: Path) -> None:
    """What a kill left of files that were being written; zarr gives each another name, so nothing
    would ever take its place."""
    for stray in folder.rglob("*" + PARTIAL):
        if stray.is_file():
            stray.unlink()


def _readable_group(folder: Path) -> "zarr.Group | None":
    """None where a run was stopped before there was a group."""
    import zarr
    from zarr.storage import LocalStore

    try:
        return zarr.open_group(LocalStore(folder), mode="r+", zarr_format=3)
    except (OSError, ValueError, KeyError, RecursionError):
        return None


def _has_positions(group: Any, xy0: NDArray[np.int64]) -> bool:
    try:
        return np.array_equal(group["xy0"][...], xy0)
    except (OSError, ValueError, KeyError, RuntimeError):
        return False


def _file_of(folder: Path, array: Any, shard: int) -> Path:
    key = array.metadata.encode_chunk_key((shard, *(0 for _ in array.shape[1:])))
    return folder / str(array.path) / str(key)


def _differences(found: Mapping[str, Any], header: Mapping[str, Any], names: list[str]) -> str:
    """What differs, one level into `made_from`, where people recognise it."""
    if names == ["made_from"]:
        found, header = found["made_from"], header["made_from"]
        names = sorted(k for k in {*found, *header} if found.get(k) != header.get(k))
    return ", ".join(f"{k}: {found.get(k)!r:.80} there, {header.get(k)!r:.80} here" for k in names)
