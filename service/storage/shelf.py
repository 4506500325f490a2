"""Results on disk, by tenant. Workers publish them; here they are found, listed and deleted."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, RowMapping, select, update

from service.database import reading, results
from service.errors import NotFound, ResultExpired
from service.settings import Settings
from service.storage.removal import remove

__all__ = ["RESULTS", "Shelf", "StoredResult"]

logger = logging.getLogger(__name__)

RESULTS = "results"


@dataclass(frozen=True)
class StoredResult:
    """A result as it was when its row was read."""

    id: str
    tenant: str
    job_id: str
    slide_id: str
    work_key: str
    size_bytes: int
    manifest_sha256: str
    created_at: float
    folder: Path  # a complete service.results.ResultFolder


class Shelf:
    """All results of a data folder. Safe to share between threads; any number of processes."""

    def __init__(
        self,
        data: Path,
        engine: Engine,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._engine = data.resolve() / RESULTS, engine
        self._settings, self._clock = settings, clock

    def get(self, tenant: str, result_id: str) -> StoredResult:
        """Raises NotFound, also where it is another tenant's; ResultExpired where it is deleted
        and its row is still kept."""
        row = self._row(results.c.tenant == tenant, results.c.id == result_id)
        if row is None:
            raise NotFound("no such result")
        if row["deleted_at"] is not None:
            raise ResultExpired("the result was deleted, or its time of keeping is over")
        return self._result(row)

    def find(self, tenant: str, work_key: str) -> StoredResult | None:
        """The result of equal work, if it is still here."""
        row = self._row(
            results.c.tenant == tenant,
            results.c.work_key == work_key,
            results.c.deleted_at.is_(None),
        )
        return None if row is None else self._result(row)

    def page(self, tenant: str, *, limit: int, before: str | None = None) -> Sequence[StoredResult]:
        """The newest first, at most `limit`, those with an id smaller than `before`."""
        query = (
            select(results)
            .where(results.c.tenant == tenant, results.c.deleted_at.is_(None))
            .order_by(results.c.id.desc())
        )
        if before is not None:
            query = query.where(results.c.id < before)
        with reading(self._engine) as connection:
            return [self._result(row) for row in connection.execute(query.limit(limit)).mappings()]

    def delete(self, tenant: str, result_id: str) -> None:
        """Its row is marked, and kept for `keep_jobs_s`. Raises NotFound, ResultExpired.

        Who reads one of its files reads on; the next file is gone.
        """
        own = (results.c.tenant == tenant) & (results.c.id == result_id)
        with self._engine.begin() as connection:
            marked = connection.execute(
                update(results)
                .where(own, results.c.deleted_at.is_(None))
                .values(deleted_at=self._clock())
            ).rowcount
        if not marked:
            self.get(tenant, result_id)
        remove(self._folder / result_id)
        logger.info("result deleted", extra={"result": result_id})

    def _row(self, *conditions: Any) -> RowMapping | None:
        with reading(self._engine) as connection:
            return connection.execute(select(results).where(*conditions)).mappings().one_or_none()

    def _result(self, row: RowMapping) -> StoredResult:
        fields = {name: row[name] for name in row if name not in ("deleted_at", "key_id")}
        return StoredResult(folder=self._folder / row["id"], **fields)
