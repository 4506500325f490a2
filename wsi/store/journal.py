"""What of an unfinished store is safely on disk: one flushed line a shard, with its sha256."""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from wsi.errors import StoreLocked
from wsi.store.folder import flush_file

__all__ = ["FolderLock", "Journal", "let_go", "read_journal", "sha256_of"]

JOURNAL = "journal.jsonl"


class FolderLock:
    """One writer a folder. The kernel lets go of it when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where it is missing. Raises StoreLocked where another has it."""
        self._descriptor = _lock(folder)
        while not _is_same(self._descriptor, folder):  # another finished and renamed it meanwhile
            let_go(self._descriptor)
            self._descriptor = _lock(folder)

    def close(self) -> None:
        if self._descriptor >= 0:
            let_go(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Journal:
    """The lines of one folder. A line is added after its shard is flushed, and flushed itself."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._folder = folder

    def add(self, shard: int, sha256: str) -> None:
        # a kill may have cut the last line short: the new one must not join it
        line = json.dumps({"shard": shard, "sha256": sha256})
        with self._path.open("ab") as file:
            file.write(f"\n{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        flush_file(self._folder)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def settle(self, shards: Mapping[int, str]) -> None:
        """One line a shard, in order: however often a run was stopped, the bytes are the same."""
        lines = (json.dumps({"shard": i, "sha256": shards[i]}) + "\n" for i in sorted(shards))
        aside = self._path.with_name(JOURNAL + ".partial")
        aside.write_text("".join(lines))
        flush_file(aside)
        aside.replace(self._path)


def read_journal(folder: Path) -> dict[int, str]:
    """sha256 by shard; lines that a kill cut short are left out."""
    try:
        lines = (folder / JOURNAL).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    shards = {}
    for line in lines:
        try:
            entry = json.loads(line)
            shards[int(entry["shard"])] = str(entry["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return shards


def sha256_of(path: Path) -> str:
    """Of a file's bytes; empty where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def let_go(descriptor: int) -> None:
    """Unlocks what is locked, and closes it: a process that another thread starts at this moment
    holds the descriptor, too, until it runs its program."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _open(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another finished and renamed it between the two
            continue


def _lock(folder: Path) -> int:
    descriptor = _open(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreLocked(
            f"{folder}: another process is writing this store; wait until it ends, or stop it"
        ) from error
    except OSError:  # a file system without locks: the caller's order of work is all there is
        pass
    return descriptor


def _is_same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False
