"""Taking files away while others may read them, and never what a living process works on."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsi.store.folder import flush_file
from wsi.store.journal import let_go

__all__ = ["DELETED", "claimed", "remove", "size_on_disk"]

DELETED = ".deleted.partial"


def remove(path: Path) -> None:
    """Renames a folder aside, so that it is there whole or not at all, then takes it away.

    Who has one of its files open reads on. What a crash leaves is a partial folder, which cleaning
    removes. Harmless where nothing is there.
    """
    aside = path if path.name.endswith(DELETED) else path.with_name(path.name + DELETED)
    if path != aside:
        _take_away(aside)  # what a crash left of an earlier one of this name
        with suppress(FileNotFoundError):
            path.rename(aside)
            flush_file(aside.parent)
    _take_away(aside)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether nobody works on a file or folder: then its lock is held until the block ends.

    False also where it is gone, and on a file system without locks, where nobody can know.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield _lock(descriptor) and _is_same(descriptor, path)
    finally:
        let_go(descriptor)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    if not path.is_dir() or path.is_symlink():
        return _size(path)
    return sum(_size(Path(parent, name)) for parent, _, names in os.walk(path) for name in names)


def _take_away(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the path still names what was opened: it may have been renamed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
