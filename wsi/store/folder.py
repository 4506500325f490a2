"""Folders that are complete, or named `*.partial`: written aside, flushed, then renamed."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsi.errors import ResultExists, StoreIncomplete, StoreMismatch

if TYPE_CHECKING:
    import zarr

__all__ = [
    "ATTRIBUTES",
    "SCHEMA_VERSION",
    "create_group",
    "flush_file",
    "flush_tree",
    "name_file",
    "open_group",
    "partial_file",
    "partial_path",
    "publish",
    "read_attributes",
    "written_aside",
]

SCHEMA_VERSION = 1

ATTRIBUTES = "wsi"
"""Key of the attributes that are this project's own, beside those of OME-NGFF."""

PARTIAL = ".partial"

FLUSH_THREADS = 8

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def partial_path(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def create_group(path: Path, zarr_format: Literal[2, 3] = 3) -> "zarr.Group":
    import zarr
    from zarr.storage import LocalStore

    # a LocalStore, not a string: zarr would read a name with :// or :: as an address
    return zarr.create_group(LocalStore(path), zarr_format=zarr_format)


def open_group(path: Path, kind: str) -> "zarr.Group":
    """The group of a complete store of that kind, to read. StoreIncomplete, StoreMismatch."""
    import zarr
    from zarr.storage import LocalStore

    _require_complete(path, kind)
    try:
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r")
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise StoreIncomplete(
            f"{path}: its metadata cannot be read ({error}); delete the folder and make it again"
        ) from error
    _require_schema(path, kind, read_attributes(group))
    return group


def read_attributes(group: "zarr.Group") -> dict[str, Any]:
    """This project's attributes; empty where there are none."""
    own = group.attrs.asdict().get(ATTRIBUTES)
    return dict(own) if isinstance(own, Mapping) else {}


@contextmanager
def written_aside(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """The path to write to, which becomes `path` when the block ends without an error.

    After an error nothing is left. What an earlier run left aside is thrown away first.
    """
    require_free(path, overwrite)
    partial = partial_path(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        publish(partial, path, overwrite=overwrite)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        name_file(error, path)
        raise


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """`path` + ".partial" to write to; flushed to the disk and renamed to `path` at the end.

    Below a folder that is itself partial it is not flushed: that is done when the folder gets its
    name. Makes the folder where it is missing, and takes the place of a file that is there. After
    an error nothing of the new file is left, and what stood at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        if not _is_below_partial(path):
            flush_file(partial)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        name_file(error, path)
        raise
    if not _is_below_partial(path):
        flush_file(path.parent)


def name_file(error: object, path: Path) -> None:
    """A full disk is found while bytes are written, where the system names no file."""
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        error.filename = str(path)


def require_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise ResultExists(f"{path} is already there; use --overwrite to replace it, or delete it")


def publish(partial: Path, path: Path, *, overwrite: bool = False) -> None:
    """Flushes everything below `partial` and renames it to `path`. Raises ResultExists.

    Below a folder that is itself partial nothing is flushed, as with partial_file().
    """
    require_free(path, overwrite)
    is_inner = _is_below_partial(path)
    if not is_inner:
        flush_tree(partial)
    old = path.with_name(path.name + ".old" + PARTIAL)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():  # between these two renames only partial folders exist, never half a store
        path.rename(old)
    partial.rename(path)
    if not is_inner:
        flush_file(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def flush_tree(folder: Path) -> None:
    """fsync of every file and folder: zarr's local store renames, but does not flush.

    Files at the same time: disks and their journals take many at once for little more than one.
    """
    tree = list(os.walk(folder, topdown=False))
    files = [Path(parent, name) for parent, _, names in tree for name in names]
    with ThreadPoolExecutor(min(FLUSH_THREADS, max(1, len(files))), "flush") as pool:
        list(pool.map(flush_file, files))
    for parent, _, _ in tree:
        flush_file(Path(parent))


def _is_below_partial(path: Path) -> bool:
    return any(folder.name.endswith(PARTIAL) for folder in path.absolute().parents)


def flush_file(path: Path) -> None:
    """fsync of a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_complete(path: Path, kind: str) -> None:
    partial = path if path.name.endswith(PARTIAL) else partial_path(path)
    if (not path.is_dir() and partial.is_dir()) or path == partial:
        raise StoreIncomplete(
            f"{partial}: a stopped run left this {kind} store unfinished; "
            "run the same command again, it goes on where it was"
        )
    if not path.is_dir():
        raise StoreIncomplete(f"{path}: there is no {kind} store; run the command that makes it")


def _require_schema(path: Path, kind: str, attributes: Mapping[str, Any]) -> None:
    found = attributes.get("kind"), attributes.get("schema_version")
    if found[0] != kind:
        raise StoreMismatch(f"{path}: this is no {kind} store (kind: {found[0]})")
    if found[1] != SCHEMA_VERSION:
        raise StoreMismatch(
            f"{path}: schema version {found[1]}, this program reads {SCHEMA_VERSION}; "
            "make the store again, or use the version of the program that wrote it"
        )
