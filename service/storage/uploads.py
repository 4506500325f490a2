"""The bodies that come at the same time: how many, and of whom."""

import threading
from collections.abc import Callable
from pathlib import Path

from service.access.auth import Owner
from service.errors import TooManyRequests
from service.settings import Settings
from service.storage.incoming import Incoming
from service.storage.reservation import Reservation

__all__ = ["Uploads"]

AGAIN = "try again in a while"


class Uploads:
    """Those of one process. One tenant's, however slow they are, do not shut out the others."""

    def __init__(
        self, folder: Path, settings: Settings, reserve: Callable[[Owner, int], Reservation]
    ) -> None:
        """`reserve`: room for an owner's bytes, as Library.reserve()."""
        self._folder, self._settings, self._reserve = folder, settings, reserve
        self._open: list[tuple[str, Incoming]] = []
        self._beginning = threading.Lock()

    def begin(self, owner: Owner, content_length: int | None, sha256: str | None) -> Incoming:
        """Raises TooManyRequests, InvalidRequest, TooLarge, NoSpace, QuotaExceeded."""
        with self._beginning:
            self._require_place(owner.tenant)
            incoming = self._make(owner, content_length, sha256)
            self._open.append((owner.tenant, incoming))
            return incoming

    def _require_place(self, tenant: str) -> None:
        self._open = [upload for upload in self._open if upload[1].is_open]
        if len(self._open) >= self._settings.max_uploads:
            raise TooManyRequests(f"too many uploads at the same time; {AGAIN}")
        own = sum(whose == tenant for whose, _ in self._open)
        if own >= self._settings.max_uploads_of_a_tenant:
            raise TooManyRequests(f"{own} uploads of yours are under way already; {AGAIN}")

    def _make(self, owner: Owner, content_length: int | None, sha256: str | None) -> Incoming:
        limit = self._settings.max_slide_bytes
        return Incoming(
            self._folder,
            self._reserve(owner, min(max(content_length or 0, 0), limit)),
            limit_bytes=limit,
            content_length=content_length,
            sha256=sha256,
        )
