"""Whole or not at all: a file is written beside its place and renamed when it is complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsi.store.folder import flush_file, partial_path

__all__ = ["partial_file"]


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """`path` + ".partial" to write to; flushed to the disk and renamed to `path` at the end.

    Makes the folder where it is missing, and takes the place of a file that is there. After an
    error nothing of the new file is left, and what stood at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        flush_file(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_file(path.parent)
