"""What is kept and for how long; what a crash or a refusal left behind.

Nothing that a living process holds is touched: uploads, slides and results under way are locked by
their writers, and the kernel lets go of the lock however they end.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    delete,
    exists,
    func,
    select,
    union_all,
)

from service.database import batch_jobs, batches, jobs, reading, results, slides, workers
from service.errors import Conflict, NotFound, ResultExpired
from service.ids import ID_PATTERN
from service.settings import Settings
from service.storage.library import INCOMING, SLIDES, UNFINISHED, Library
from service.storage.removal import claimed, remove, size_on_disk
from service.storage.reservation import Reservations
from service.storage.shelf import RESULTS, Shelf
from service.storage.slides import came_before

__all__ = ["Garbage", "clear_orphans", "collect_garbage"]

logger = logging.getLogger(__name__)

OURS = re.compile(rf"{ID_PATTERN.removesuffix('$')}(\.old)?(\.partial)?(\.deleted\.partial)?$")
MAX_ROWS = 500  # deleted in one transaction, so that others get their turn


@dataclass(frozen=True)
class Garbage:
    """What went, or would go. `bytes` are those of files; ids are those of rows."""

    results: tuple[str, ...] = ()
    slides: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()  # files and folders without a row or a holder: folder/name
    job_rows: int = 0
    batch_rows: int = 0
    result_rows: int = 0  # of results deleted long ago
    worker_rows: int = 0
    size_bytes: int = 0


def collect_garbage(
    settings: Settings,
    engine: Engine,
    clock: Callable[[], float] = time.time,
    *,
    dry_run: bool = False,
) -> Garbage:
    """Deletes what is kept no longer, by the settings `keep_…`, and what nobody owns.

    May run at any time, beside the service and beside itself.
    """
    return _Collector(settings, engine, clock, dry_run).run()


def clear_orphans(settings: Settings, engine: Engine, *, dry_run: bool = False) -> Garbage:
    """The part of it for the start of the service: half-written files that nobody holds."""
    collector = _Collector(settings, engine, time.time, dry_run)
    return Garbage(orphans=collector.clear_orphans(), size_bytes=collector.size_bytes)


class _Collector:
    def __init__(
        self, settings: Settings, engine: Engine, clock: Callable[[], float], dry_run: bool
    ) -> None:
        self._settings, self._engine = settings, engine
        self._clock, self._dry_run = clock, dry_run
        self._data = settings.data.resolve()
        self.size_bytes = 0

    def run(self) -> Garbage:
        now, settings = self._clock(), self._settings
        forgotten = now - settings.keep_jobs_s
        return Garbage(
            results=self._expire_results(now),
            slides=self._expire_slides(now),
            orphans=self.clear_orphans(),
            batch_rows=self._forget_batches(forgotten),
            job_rows=self._forget_jobs(forgotten),
            result_rows=self._forget(results, results.c.deleted_at < forgotten),
            worker_rows=self._forget(workers, workers.c.seen_at < forgotten),
            size_bytes=self.size_bytes,
        )

    def clear_orphans(self) -> tuple[str, ...]:
        """Files and folders that no row names and no living process holds."""
        owners = {INCOMING: _nobody, SLIDES: self._has_slide, RESULTS: self._has_result}
        found = [
            self._clear(path, is_owned)
            for name, is_owned in owners.items()
            for path in _ours(self._data / name)
        ]
        if not self._dry_run:
            Reservations(self._data).held()  # sweeps out those of dead processes
        return tuple(name for name in found if name)

    def _clear(self, path: Path, is_owned: Callable[[Path], bool]) -> str | None:
        """Its name, where it went. The owner is asked again while the lock is held: who makes a
        row holds it, too. Asked before, so that a worker never finds its own folder taken."""
        if is_owned(path):
            return None
        with claimed(path) as is_free:
            if not is_free or is_owned(path):
                return None
            self.size_bytes += size_on_disk(path)
            if not self._dry_run:
                remove(path)
                logger.info("orphan removed", extra={"path": path.name})
            return f"{path.parent.name}/{path.name}"

    def _has_slide(self, path: Path) -> bool:
        query = select(slides.c.id).where(slides.c.id == path.name)
        return self._finds(query)

    def _has_result(self, path: Path) -> bool:
        """A result, or one that its job will go on with; never what was set aside (`.old`,
        `.deleted`). One statement: it sees one moment, and a job becomes a result in one."""
        result_id = path.name.removesuffix(".partial")
        of_job = select(jobs.c.result_id).where(
            jobs.c.result_id == result_id, jobs.c.state.in_(UNFINISHED)
        )
        if path.name != result_id:
            return self._finds(of_job)
        kept, named = results.c.deleted_at.is_(None), results.c.id == result_id
        return self._finds(union_all(of_job, select(results.c.id).where(kept, named)))

    def _expire_results(self, now: float) -> tuple[str, ...]:
        if self._settings.keep_results_s is None:
            return ()
        old = results.c.created_at < now - self._settings.keep_results_s
        shelf = Shelf(self._data, self._engine, self._settings, self._clock)
        return self._expire(results, RESULTS, old & results.c.deleted_at.is_(None), shelf.delete)

    def _expire_slides(self, now: float) -> tuple[str, ...]:
        if self._settings.keep_slides_s is None:
            return ()
        needed = exists().where(jobs.c.slide_id == slides.c.id, jobs.c.state.in_(UNFINISHED))
        before = now - self._settings.keep_slides_s
        library = Library(self._data, self._engine, self._settings, self._clock)
        away = partial(library.delete, sent_before=before)
        return self._expire(slides, SLIDES, came_before(before) & ~needed, away)

    def _expire(
        self,
        table: Table,
        folder: str,
        condition: ColumnElement[bool],
        away: Callable[[str, str], None],
    ) -> tuple[str, ...]:
        """Ids of what went; what somebody else deletes, or begins to need, at the same time does
        not count."""
        with reading(self._engine) as connection:
            query = select(table.c.tenant, table.c.id).where(condition).order_by(table.c.id)
            found = [(str(tenant), str(id_)) for tenant, id_ in connection.execute(query)]
        gone = []
        for tenant, id_ in found:
            size_bytes = size_on_disk(self._data / folder / id_)
            try:
                if not self._dry_run:
                    away(tenant, id_)
            except (NotFound, ResultExpired, Conflict):
                continue
            self.size_bytes += size_bytes
            gone.append(id_)
        return tuple(gone)

    def _forget_batches(self, before: float) -> int:
        """Batches of which no job can still be asked for as under way."""
        waits = exists().where(
            batch_jobs.c.batch_id == batches.c.id,
            jobs.c.id == batch_jobs.c.job_id,
            jobs.c.state.in_(UNFINISHED),
        )
        old = select(batches.c.id).where(batches.c.created_at < before, ~waits)
        if self._dry_run:
            return self._count(batches, batches.c.id.in_(old))

        def forget_some(connection: Connection) -> int:
            ids = list(connection.execute(old.limit(MAX_ROWS)).scalars())
            connection.execute(delete(batch_jobs).where(batch_jobs.c.batch_id.in_(ids)))
            return connection.execute(delete(batches).where(batches.c.id.in_(ids))).rowcount

        return self._in_portions(forget_some)

    def _forget_jobs(self, before: float) -> int:
        """Jobs that ended long ago, less those that a result or a batch still names."""
        kept = results.c.deleted_at.is_(None)
        made_result = exists().where(results.c.job_id == jobs.c.id, kept)
        in_batch = exists().where(batch_jobs.c.job_id == jobs.c.id)
        return self._forget(
            jobs,
            jobs.c.state.not_in(UNFINISHED)
            & (jobs.c.finished_at < before)
            & ~made_result
            & ~in_batch,
        )

    def _forget(self, table: Table, condition: ColumnElement[bool]) -> int:
        """Deletes rows a few at a time; returns how many."""
        if self._dry_run:
            return self._count(table, condition)
        some = select(table.c.id).where(condition).limit(MAX_ROWS)
        gone = delete(table).where(table.c.id.in_(some))
        return self._in_portions(lambda connection: connection.execute(gone).rowcount)

    def _in_portions(self, forget_some: Callable[[Connection], int]) -> int:
        """forget_some deletes MAX_ROWS rows at most, and says how many; a transaction each."""
        count = 0
        while True:
            with self._engine.begin() as connection:
                gone = forget_some(connection)
            count += gone
            if gone < MAX_ROWS:
                return count

    def _count(self, table: Table, condition: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(table).where(condition)
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def _finds(self, query: Any) -> bool:
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None


def _ours(folder: Path) -> Iterator[Path]:
    """What this service put there, by its name; anything else is not ours to remove."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if OURS.match(path.name))


def _nobody(_path: Path) -> bool:
    return False
