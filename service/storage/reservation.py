"""Room on the disk, promised before the first byte is written.

A ledger in the data folder, one small file a promise, shared by all processes on the machine: the
holder keeps a lock on its file, and the kernel lets go of it however the process dies.
"""

import errno
import fcntl
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from service.access.auth import Owner
from service.errors import NoSpace

__all__ = ["Check", "Held", "Reservation", "Reservations", "space_watched"]

LEDGER = "reservations"
RECORD = struct.Struct("<QQ32s32s")  # bytes in all, not written yet, sha256 of tenant and of key
GATE = ".lock"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SQLITE_FULL = 13


NOBODY = Owner("")


class Entry(NamedTuple):
    total: int
    left: int
    tenant: bytes
    key: bytes  # of the tenant's, so that no other tenant has it


class Held(NamedTuple):
    """Bytes of live reservations, the one that is asked for included."""

    tenant: int
    key: int  # those that came with the same API key, or with none


Check = Callable[[Held], None]


class Reservations:
    """The ledger of one data folder. Safe to share between threads and processes."""

    def __init__(self, data: Path, floor_bytes: int = 0) -> None:
        """`floor_bytes` always stays free: for the database, the logs, and other programs."""
        self._folder = data / LEDGER
        self._floor = floor_bytes

    def reserve(
        self, size_bytes: int, *, owner: Owner = NOBODY, check: Check | None = None
    ) -> "Reservation":
        """Holds room until it is closed. Raises NoSpace.

        `check` is called with what the owner's live reservations hold, this one included, while
        nobody else can reserve; what it raises goes through.
        """
        with self._gate():
            entry = Entry(size_bytes, size_bytes, *_digests(owner))
            self._require(entry._replace(total=0, left=0), entry, check)
            return Reservation(self, self._folder, entry, check)

    def held(self, tenant: str | None = None) -> int:
        """Bytes that live reservations hold, written or not: a tenant's, or all."""
        digest = None if tenant is None else _digests(Owner(tenant))[0]
        with self._gate():
            return sum(e.total for e in self._live() if digest in (None, e.tenant))

    def update(self, record: int, old: Entry, new: Entry, check: Check | None) -> None:
        """Writes a reservation's numbers, after finding room for what they are more."""
        with self._gate():
            if new.left > old.left:
                self._require(old, new, check)
            os.pwrite(record, RECORD.pack(*new), 0)

    def _require(self, old: Entry, new: Entry, check: Check | None) -> None:
        live = self._live()
        if check:
            more = new.total - old.total
            tenants = [entry for entry in live if entry.tenant == new.tenant]
            keys = [entry for entry in tenants if entry.key == new.key]
            check(Held(*(sum(entry.total for entry in own) + more for own in (tenants, keys))))
        status = os.statvfs(self._folder)
        promised = sum(entry.left for entry in live)
        free = status.f_bavail * status.f_frsize - promised - self._floor
        if new.left - old.left > free:
            raise NoSpace(
                f"{new.left - old.left} bytes are needed and {max(0, free)} are free; "
                "try again later, or ask the operator for room"
            )

    def _live(self) -> list[Entry]:
        """Those whose holder lives; the files of dead ones are removed."""
        found = []
        for path in self._folder.glob("*.hold"):
            with suppress(FileNotFoundError), path.open("rb") as file:
                if _is_free(file.fileno()):
                    path.unlink()
                elif len(record := file.read(RECORD.size)) == RECORD.size:
                    found.append(Entry(*RECORD.unpack(record)))
        return found

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """One at a time, over all processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class Reservation:
    """Room that is held until close(), or until its process dies."""

    def __init__(
        self,
        ledger: Reservations,
        folder: Path,
        entry: Entry,
        check: Check | None,
    ) -> None:
        self._ledger, self._entry, self._check = ledger, entry, check
        with space_watched("the disk has no room for a reservation"):
            self._descriptor, name = tempfile.mkstemp(suffix=".hold", dir=folder)
            self._path = Path(name)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                os.pwrite(self._descriptor, RECORD.pack(*entry), 0)
            except BaseException:
                self.close()
                raise

    @property
    def left(self) -> int:
        """Bytes that may still be written without asking again."""
        return self._entry.left

    def grow(self, size_bytes: int, *, replacing: bool = False) -> None:
        """Holds so much more. Raises NoSpace, and what the check raises.

        `replacing`: what was written so far will go, and does not count for the tenant any more.
        """
        total = size_bytes if replacing else self._entry.total + size_bytes
        self._set(total, self._entry.left + size_bytes)

    def spend(self, size_bytes: int) -> None:
        """So much has been written: the file system counts it from now on."""
        self._set(self._entry.total, max(0, self._entry.left - size_bytes))

    def _set(self, total: int, left: int) -> None:
        new = self._entry._replace(total=total, left=left)
        self._ledger.update(self._descriptor, self._entry, new, self._check)
        self._entry = new

    def close(self) -> None:
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a forked child may have the file, too
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def space_watched(sentence: str = "the disk is full; try again later") -> Iterator[None]:
    """Turns a full disk, as the system or SQLite reports it, into NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise NoSpace(sentence) from error
        raise
    except Exception as error:
        if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == SQLITE_FULL:
            raise NoSpace(sentence) from error
        raise


def _digests(owner: Owner) -> tuple[bytes, bytes]:
    names = (owner.tenant, f"{owner.tenant}\0{owner.key_id or ''}")
    return tuple(hashlib.sha256(name.encode()).digest() for name in names)  # type: ignore[return-value]


def _is_free(descriptor: int) -> bool:
    """Whether nobody holds the file's lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
