"""Slides on disk, by tenant: what came as a body, and what lies below the operator's folders.

A body goes to `incoming/`, is checked inside `slides/<id>.partial/`, gets its name by one rename,
and then its row. What a crash leaves between these steps has no row and no living holder, so that
cleaning (`service.storage.retention`) can tell it from everything else.
"""

import logging
import shutil
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, exists, insert, select, true, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from service.access.auth import Owner
from service.database import jobs, reading, slides
from service.errors import (
    Busy,
    Conflict,
    InvalidRequest,
    NotFound,
    ServiceError,
    UnsupportedMedia,
)
from service.ids import new_id
from service.settings import Settings
from service.storage.archive import SlideArchive
from service.storage.gatekeeper import (
    SHUT_DOWN,
    Admitted,
    admit_apart,
    is_archive,
    require_slide_like,
)
from service.storage.incoming import Incoming, Received
from service.storage.quota import Quota
from service.storage.reception import THREADS, Reception
from service.storage.removal import remove
from service.storage.reservation import Reservation, Reservations, space_watched
from service.storage.roots import resolve_below
from service.storage.slides import Stored, StoredSlide, came_before
from service.storage.stamps import Stamp
from service.storage.uploads import Uploads
from wsi.errors import StoreIncomplete, WsiError
from wsi.identity import files_identity
from wsi.store.folder import partial_path, publish
from wsi.store.journal import FolderLock

__all__ = ["INCOMING", "SLIDES", "Library", "Stored", "StoredSlide"]

logger = logging.getLogger(__name__)

INCOMING = "incoming"
SLIDES = "slides"
HEAD_BYTES = 1024
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
MAX_PLACE = 1000  # characters, as the table has them
UNFINISHED = ("queued", "running")


class Library:
    """All slides of a data folder. Safe to share between threads; any number of processes.

    close() ends its threads, and what they unpack or check with Busy.
    """

    def __init__(
        self,
        data: Path,
        engine: Engine,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        *,
        gate: Callable[[Path], Admitted] | None = None,
    ) -> None:
        """`gate` looks at a slide's header; the default does so in a process of its own."""
        self._data, self._engine, self._settings = data.resolve(), engine, settings
        self._clock, self._closing = clock, threading.Event()
        self._gate = gate or partial(admit_apart, should_stop=self._closing.is_set)
        self._reservations = Reservations(self._data, settings.disk_floor_bytes)
        self.quota = Quota(engine, settings.quota_bytes)
        share = THREADS // 2 if settings.auth else THREADS  # the rest is for other tenants
        self._reception = Reception(settings.upload_stall_s, share)
        self._uploads = Uploads(self._data / INCOMING, settings, self.reserve)

    def close(self) -> None:
        self._closing.set()
        self._reception.close()

    async def receive(
        self,
        tenant: str,
        chunks: AsyncIterable[bytes],
        *,
        media_type: str | None,
        content_length: int | None,
        sha256: str | None = None,
        key_id: str | None = None,
    ) -> Stored:
        """Takes a body, for example `request.stream()`; memory for one block of it.

        `sha256`: hex that the client states. `key_id`: of the API key that it came with, whose
        quota it counts to. `content_length` None: not stated. Nothing is left of
        a body that is refused, cut off or given up. Raises ServiceError (UnsupportedMedia,
        TooLarge, QuotaExceeded, NoSpace, InvalidRequest, UploadStalled, ChecksumMismatch,
        ArchiveUnsafe, TooManyRequests, Busy) and WsiError (UnsupportedSlide, CorruptSlide,
        SlideTooLarge).
        """
        return await self._reception.pour(
            tenant,
            chunks,
            partial(self.begin, tenant, media_type, content_length, sha256, key_id),
            partial(self.settle, tenant, key_id=key_id),
        )

    def store(
        self,
        tenant: str,
        blocks: Iterable[bytes],
        *,
        media_type: str | None = None,
        content_length: int | None = None,
        sha256: str | None = None,
        key_id: str | None = None,
    ) -> Stored:
        """receive(), for callers without an event loop."""
        incoming = self.begin(tenant, media_type, content_length, sha256, key_id)
        try:
            for block in blocks:
                incoming.write(block)
        except BaseException:
            incoming.abort()
            raise
        return self.settle(tenant, incoming, key_id=key_id)

    def begin(
        self,
        tenant: str,
        media_type: str | None,
        content_length: int | None,
        sha256: str | None,
        key_id: str | None = None,
    ) -> Incoming:
        """The first part of receive(): room on the disk, and a file to write to."""
        if media_type is not None and media_type.partition(";")[0].strip().lower() in FORMS:
            raise UnsupportedMedia(
                "a form, not a slide; send the file itself: curl -T slide.svs URL, "
                "or with -H 'Content-Type: application/octet-stream' --data-binary @slide.svs"
            )
        return self._uploads.begin(Owner(tenant, key_id), content_length, sha256)

    def settle(self, tenant: str, incoming: Incoming, *, key_id: str | None = None) -> Stored:
        """The second part of receive(): the checks, the name, the row."""
        try:
            self._require_open()
            received = incoming.finish()
            known = self._by_sha256(tenant, received.sha256)
            if known is not None and not self._is_astray(known) and self._renew(known):
                return Stored(known, created=False)
            with space_watched():
                return self._admit(Owner(tenant, key_id), incoming, received)
        finally:
            incoming.abort()

    def add_path(self, tenant: str, path: str) -> Stored:
        """A slide below one of the operator's folders; it stays where it is.

        `path` is absolute, or relative to one of them. Raises InvalidRequest, NotFound (missing,
        or a link that leads out), UnsupportedSlide, CorruptSlide, SlideTooLarge, Busy.
        """
        place = resolve_below(self._settings.slide_roots, path)
        if len(str(place)) > MAX_PLACE:
            raise InvalidRequest(f"a path of more than {MAX_PLACE} characters")
        began_at = self._clock()  # a file that changes from now on is not what is hashed
        identity = self._identity(place)
        return self._record(
            Owner(tenant),
            new_id("sld"),
            identity["sha256"],
            identity["size_bytes"],
            "path",
            str(place),
            began_at,
        )

    def get(self, tenant: str, slide_id: str) -> StoredSlide:
        """Raises NotFound, also where the slide is another tenant's."""
        found = self._select(tenant, slides.c.id == slide_id)
        if found is None:
            raise NotFound("no such slide")
        return found

    def path_of(self, tenant: str, slide_id: str) -> Path:
        """What open_slide() takes. Raises NotFound."""
        return self.get(tenant, slide_id).path

    def pinned_sha256(self, tenant: str, slide_id: str) -> str | None:
        """What the files of a slide that stays in its place must have; None of our own copy, which
        nobody changes. Raises NotFound."""
        slide = self.get(tenant, slide_id)
        return slide.sha256 if slide.kind == "path" else None

    def page(self, tenant: str, *, limit: int, before: str | None = None) -> Sequence[StoredSlide]:
        """The newest first, at most `limit`, those with an id smaller than `before`."""
        query = select(slides).where(slides.c.tenant == tenant).order_by(slides.c.id.desc())
        if before is not None:
            query = query.where(slides.c.id < before)
        with reading(self._engine) as connection:
            rows = connection.execute(query.limit(limit)).mappings()
            return [StoredSlide.from_row(row, self._data) for row in rows]

    def set_facts(self, tenant: str, slide_id: str, facts: Mapping[str, Any]) -> None:
        """What a reader found, beside what is known already: JSON types. Harmless where the slide
        has gone."""
        own = (slides.c.tenant == tenant) & (slides.c.id == slide_id)
        with self._engine.begin() as connection:
            known = connection.scalar(select(slides.c.facts).where(own).with_for_update()) or {}
            connection.execute(update(slides).where(own).values(facts={**known, **facts}))

    def delete(self, tenant: str, slide_id: str, *, sent_before: float | None = None) -> None:
        """Its results stay. Raises NotFound; Conflict while a job needs it, or where its bytes came
        at `sent_before` (Unix seconds) or later."""
        needed = exists().where(jobs.c.slide_id == slides.c.id, jobs.c.state.in_(UNFINISHED))
        own = (slides.c.tenant == tenant) & (slides.c.id == slide_id)
        old = true() if sent_before is None else came_before(sent_before)
        with self._engine.begin() as connection:
            # who adds a job has this row: the look for jobs comes after it, in another statement
            connection.execute(select(slides.c.id).where(own).with_for_update())
            gone = connection.execute(delete(slides).where(own, old, ~needed)).rowcount
        if not gone:
            self.get(tenant, slide_id)
            if sent_before is not None:
                raise Conflict("its bytes came again, or a job needs it")
            raise Conflict("a job that waits or runs needs this slide; cancel the job first")
        remove(self._data / SLIDES / slide_id)
        logger.info("slide deleted", extra={"slide": slide_id})

    def reserve(self, owner: Owner, size_bytes: int) -> Reservation:
        """Room for what will be stored or made, on the disk and in the owner's quota.

        Raises NoSpace, QuotaExceeded.
        """
        check = partial(self.quota.require, owner)
        return self._reservations.reserve(size_bytes, owner=owner, check=check)

    def bytes_of(self, tenant: str) -> int:
        """What a tenant keeps here: slides, less those that stay in place, and results."""
        return self.quota.used(Owner(tenant))

    def _admit(self, owner: Owner, incoming: Incoming, received: Received) -> Stored:
        """Checks the slide in a folder of its own: a DICOM file's neighbours belong to it."""
        with received.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        slide_id = new_id("sld")
        folder = self._data / SLIDES / slide_id
        with ExitStack() as undo:
            lock = undo.enter_context(_lock_new(partial_path(folder)))
            undo.callback(shutil.rmtree, partial_path(folder), ignore_errors=True)
            if is_archive(head):
                kind, size_bytes = "archive", self._unpack(incoming, partial_path(folder))
                entry = self._check_unpacked(partial_path(folder))
            else:
                require_slide_like(head)
                kind, size_bytes = "file", received.size_bytes
                entry = self._check_file(received.path, partial_path(folder))
            publish(partial_path(folder), folder)
            undo.pop_all()
            with lock:
                place = f"{SLIDES}/{slide_id}" + (f"/{entry}" if entry else "")
                sha256, now = received.sha256, self._clock()
                return self._record(owner, slide_id, sha256, size_bytes, kind, place, now)

    def _check_file(self, path: Path, folder: Path) -> str:
        """Moves the body into the folder and gives it its format's name."""
        moved = path.rename(folder / "slide")
        entry = f"slide{self._gate(moved).suffix}"
        moved.rename(folder / entry)
        return entry

    def _unpack(self, incoming: Incoming, folder: Path) -> int:
        with incoming.path.open("rb") as file, SlideArchive(file) as archive:
            archive.require_at_most(self._settings.max_slide_bytes)
            incoming.reservation.grow(archive.stated_bytes, replacing=True)
            return archive.extract(folder, partial(self._spend, incoming.reservation))

    def _spend(self, reservation: Reservation, size_bytes: int) -> None:
        self._require_open()
        reservation.spend(size_bytes)

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise Busy(SHUT_DOWN)

    def _check_unpacked(self, folder: Path) -> str:
        entry = "slide.mrxs" if (folder / "slide.mrxs").is_file() else ""
        self._gate(folder / entry)
        return entry

    def _record(
        self,
        owner: Owner,
        slide_id: str,
        sha256: str,
        size_bytes: int,
        kind: str,
        place: str,
        created_at: float,
    ) -> Stored:
        """Adds the row, or finds that the same bytes came at the same time: then ours go."""
        tenant = owner.tenant
        row = {
            "id": slide_id,
            **vars(owner),
            "sha256": sha256,
            "size_bytes": size_bytes,
            "kind": kind,
            "place": place,
            "created_at": created_at,
        }
        while True:
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(slides).values(row))
                logger.info("slide stored", extra={"slide": slide_id})
                return Stored(self.get(tenant, slide_id), created=True)
            except IntegrityError:
                instead = self._instead(row)
                if instead is not None:  # else it has just gone: once more
                    return Stored(instead, created=False)
            except SQLAlchemyError:
                if not self._select(tenant, slides.c.id == slide_id):  # the answer may be lost
                    remove(self._data / SLIDES / slide_id)
                raise

    def _instead(self, row: Mapping[str, Any]) -> StoredSlide | None:
        """The tenant's slide of the same bytes; None where there is none any more."""
        known = self._by_sha256(row["tenant"], row["sha256"])
        if known is not None and self._is_astray(known, than=self._data / row["place"]):
            if row["kind"] == "path":
                return self._move(known, row["place"])
            self._let_go(known)
            return None
        if known is None or not self._renew(known):
            return None
        remove(self._data / SLIDES / row["id"])
        return known

    def _identity(self, place: Path) -> dict[str, Any]:
        """Of all files of a slide below the operator's folders. Raises what add_path() raises."""
        roots = self._settings.slide_roots
        files = [resolve_below(roots, file) for file in self._gate(place).files]
        try:
            return files_identity(files, "the slide", self._closing.is_set)
        except InterruptedError as error:
            raise Busy(SHUT_DOWN) from error

    def _is_astray(self, known: StoredSlide, than: Path | None = None) -> bool:
        """Whether a slide that stays in its place is there no more, as it was. `than`: the place
        where its bytes have just been seen."""
        if known.kind != "path" or known.path == than:
            return False
        try:
            untouched = Stamp.of(known.path).is_of(known.size_bytes, known.created_at)
            return not untouched and self._identity(known.path)["sha256"] != known.sha256
        except Busy:
            raise
        except (OSError, WsiError, ServiceError):
            return True

    def _renew(self, known: StoredSlide) -> bool:
        """Its bytes have come again: it is kept from now on. False where it has just gone."""
        mine = update(slides).where(slides.c.id == known.id)
        with self._engine.begin() as connection:
            return connection.execute(mine.values(renewed_at=self._clock())).rowcount == 1

    def _move(self, known: StoredSlide, place: str) -> StoredSlide:
        """The same slide in another place: who has its id finds it again."""
        new = {"place": place, "renewed_at": self._clock()}
        with self._engine.begin() as connection:
            connection.execute(update(slides).where(slides.c.id == known.id).values(new))
        logger.info("slide found in another place", extra={"slide": known.id})
        return self.get(known.tenant, known.id)

    def _let_go(self, known: StoredSlide) -> None:
        """Its file is lost, and its bytes have come as a body: that one is ours to keep."""
        lost = (slides.c.id == known.id) & (slides.c.place == str(known.path))
        with self._engine.begin() as connection:
            connection.execute(delete(slides).where(lost))

    def _by_sha256(self, tenant: str, sha256: str) -> StoredSlide | None:
        return self._select(tenant, slides.c.sha256 == sha256)

    def _select(self, tenant: str, condition: Any) -> StoredSlide | None:
        query = select(slides).where(slides.c.tenant == tenant, condition)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else StoredSlide.from_row(row, self._data)


def _lock_new(folder: Path) -> FolderLock:
    """A new folder, locked. Cleaning may look at it between its making and its lock: once more."""
    while True:
        try:
            return FolderLock(folder)
        except StoreIncomplete:
            time.sleep(0.01)
