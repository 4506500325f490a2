"""One body on its way to the disk: counted, hashed and flushed, or gone without a trace."""

import fcntl
import hashlib
import os
import re
import threading
from pathlib import Path
from typing import NamedTuple

from service.errors import ChecksumMismatch, InvalidRequest, TooLarge
from service.ids import new_id
from service.storage.reservation import Reservation, space_watched

__all__ = ["BLOCK_BYTES", "Incoming", "Received"]

BLOCK_BYTES = 1 << 20  # handed to a thread at once; 64 uploads keep 64 of them in memory
SPENT_BYTES = 16 << 20  # how often the ledger learns what has been written
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Received(NamedTuple):
    """A body that came whole: flushed, still under its partial name."""

    path: Path
    sha256: str
    size_bytes: int


class Incoming:
    """`write` each block, then `finish`; `abort` at any time, from any thread.

    The file is locked while this lives, so that cleaning leaves it alone, and disappears with
    abort(). Takes over the reservation and closes it.
    """

    def __init__(
        self,
        folder: Path,
        reservation: Reservation,
        *,
        limit_bytes: int,
        content_length: int | None = None,
        sha256: str | None = None,
    ) -> None:
        """`sha256`: hex that the bytes must have. Raises InvalidRequest, TooLarge, NoSpace."""
        self.reservation = reservation
        self._limit, self._length, self._expected = limit_bytes, content_length, sha256
        self._hash, self._count, self._unspent = hashlib.sha256(), 0, 0
        self._busy = threading.RLock()
        self._descriptor = -1
        self.path = folder / f"{new_id('upl')}.partial"
        try:
            self._require_sensible()
            with space_watched():
                folder.mkdir(parents=True, exist_ok=True)
                self._descriptor = _create_locked(self.path)
        except BaseException:
            self.abort()
            raise

    @property
    def is_open(self) -> bool:
        """Until it is aborted or released."""
        return self._descriptor >= 0

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Raises TooLarge, InvalidRequest (more than was announced), NoSpace; then nothing is left.

        After abort() InvalidRequest as well: the body has been given up.
        """
        with self._busy:
            try:
                self._require_open()
                self._require_count(self._count + len(block))
                self._hold(len(block))
                self._hash.update(block)
                with space_watched():
                    _write_all(self._descriptor, block)
                self._count += len(block)
                self._account(len(block))
            except BaseException:
                self.abort()
                raise

    def finish(self) -> Received:
        """All bytes are here. Raises InvalidRequest (fewer than announced), ChecksumMismatch.

        The file stays locked until abort() or release().
        """
        with self._busy:
            try:
                self._require_open()
                self._require_whole()
                with space_watched():
                    os.fsync(self._descriptor)
                return Received(self.path, self._hash.hexdigest(), self._count)
            except BaseException:
                self.abort()
                raise

    def abort(self) -> None:
        """Removes the file, unless it has been renamed away. Harmless when called again."""
        with self._busy:
            if self._descriptor >= 0:
                self.path.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Lets go of the file and the reservation."""
        with self._busy:
            if self._descriptor >= 0:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                os.close(self._descriptor)
                self._descriptor = -1
            self.reservation.close()

    def _hold(self, size_bytes: int) -> None:
        """Room for a block of a body whose length was not stated."""
        if self._length is None:
            self.reservation.grow(size_bytes)

    def _account(self, size_bytes: int) -> None:
        self._unspent += size_bytes
        if self._length is None or self._unspent >= SPENT_BYTES:
            self.reservation.spend(self._unspent)
            self._unspent = 0

    def _require_sensible(self) -> None:
        if self._length is not None:
            if self._length < 0:
                raise InvalidRequest(f"Content-Length {self._length}: send the number of bytes")
            self._require_count(self._length)
        if self._expected is not None and not SHA256.fullmatch(self._expected):
            raise InvalidRequest("the expected sha256 is not 64 hexadecimal digits")

    def _require_open(self) -> None:
        if self._descriptor < 0:
            raise InvalidRequest("this upload was given up; send the slide again")

    def _require_count(self, count: int) -> None:
        if count > self._limit:
            raise TooLarge(f"a slide of {count} bytes or more; the limit is {self._limit}")
        if self._length is not None and count > self._length:
            raise InvalidRequest(f"more bytes came than Content-Length {self._length} announces")

    def _require_whole(self) -> None:
        if self._length is not None and self._count != self._length:
            raise InvalidRequest(
                f"the body ended after {self._count} of {self._length} bytes; send it again"
            )
        found = self._hash.hexdigest()
        if self._expected is not None and found != self._expected.lower():
            raise ChecksumMismatch(
                f"the bytes that came have sha256 {found}, not {self._expected.lower()} as the "
                "digest says; send them again"
            )


def _create_locked(path: Path) -> int:
    """A new file's descriptor. Cleaning may take it between its making and its lock: once more."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return descriptor
        os.close(descriptor)


def _write_all(descriptor: int, block: bytes | bytearray | memoryview) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
