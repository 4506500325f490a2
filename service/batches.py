"""Jobs that were asked for together."""

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from service.database import batch_jobs, batches, jobs, reading, results
from service.errors import IdempotencyMismatch, NotFound
from service.ids import new_id
from service.jobs import JobState

__all__ = ["Batch", "Batches", "Member"]

REPORT_COLUMNS = (
    "number", "name", "slide_id", "job_id", "state", "cached", "result_id", "problem", "detail"
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """What stands for one slide: a job, or the problem for which there is none."""

    number: int  # in the order of the request
    name: str | None = None  # where a pattern found the slide
    slide_id: str | None = None
    job_id: str | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Batch:
    """How far its jobs are; a job that was under way before may be of two batches."""

    id: str
    tenant: str
    created_at: float
    counts: Mapping[JobState, int]
    refused: int  # slides for which there is no job
    jobs: Sequence[str]  # in the order of the request


class Batches:
    """In the same database as the queue. Safe to call from several threads."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock

    def begin(self, tenant: str, request_sha256: str, idempotency_key: str | None) -> str:
        """The id of a batch: a new one, or that of before where the key was used for the same.

        Raises IdempotencyMismatch.
        """
        batch_id = new_id("bat", self._clock())
        row = {
            "id": batch_id,
            "tenant": tenant,
            "idempotency_key": idempotency_key,
            "request_sha256": request_sha256,
            "created_at": self._clock(),
        }
        while True:
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(batches).values(row))
                return batch_id
            except IntegrityError:
                earlier = self.find(tenant, request_sha256, idempotency_key)
                if earlier is not None:  # else it has just been cleaned away: once more
                    return earlier

    def find(self, tenant: str, request_sha256: str, idempotency_key: str | None) -> str | None:
        """The id of the batch that the key was used for. Raises IdempotencyMismatch."""
        if idempotency_key is None:
            return None
        query = select(batches).where(
            batches.c.tenant == tenant, batches.c.idempotency_key == idempotency_key
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is not None and row.request_sha256 != request_sha256:
            raise IdempotencyMismatch(
                f"the Idempotency-Key {idempotency_key} was used for another batch; send a new one"
            )
        return None if row is None else str(row.id)

    def names(self, batch_id: str) -> dict[int, str | None]:
        """Of the slides that are taken care of, by number; None of those that have an id only."""
        query = select(batch_jobs.c.number, batch_jobs.c.name)
        with reading(self._engine) as connection:
            found = connection.execute(query.where(batch_jobs.c.batch_id == batch_id))
            return {row.number: row.name for row in found}

    def add(self, batch_id: str, member: Member) -> None:
        """A slide is in it once, and the first time counts. Where another name has its number,
        because a request came twice and saw different files, it gets the next free one."""
        fields = {name: value for name, value in asdict(member).items() if value is not None}
        ours = select(batches.c.id).where(batches.c.id == batch_id)
        with self._engine.begin() as connection:
            connection.execute(ours.with_for_update())  # one at a time, as on SQLite
            number = _number(connection, batch_id, member)
            if number is not None:
                row = {**fields, "batch_id": batch_id, "number": number}
                connection.execute(insert(batch_jobs).values(row))

    def get(self, tenant: str, batch_id: str) -> Batch:
        """Raises NotFound, also where the batch is another tenant's."""
        with reading(self._engine) as connection:
            row = connection.execute(
                select(batches).where(batches.c.id == batch_id, batches.c.tenant == tenant)
            ).one_or_none()
            if row is None:
                raise NotFound("no batch has this id")
            found = _members(connection, batch_id)
        counts = Counter(JobState(state) for _, state in found if state is not None)
        refused = sum(job is None for job, _ in found)
        ids = [job for job, _ in found if job is not None]
        return Batch(row.id, row.tenant, row.created_at, counts, refused, ids)

    def report(self, tenant: str, batch_id: str) -> Iterator[str]:
        """CSV, one line a slide, with the reason where one failed. Raises NotFound at once."""
        self.get(tenant, batch_id)
        query = (
            select(
                batch_jobs.c.number,
                batch_jobs.c.name,
                batch_jobs.c.slide_id,
                batch_jobs.c.job_id,
                jobs.c.state,
                jobs.c.cached,
                results.c.id,
                func.coalesce(batch_jobs.c.error, jobs.c.error),
            )
            .join_from(batch_jobs, jobs, batch_jobs.c.job_id == jobs.c.id, isouter=True)
            .join(results, results.c.id == jobs.c.result_id, isouter=True)
            .where(batch_jobs.c.batch_id == batch_id)
            .order_by(batch_jobs.c.number)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return _lines([tuple(row) for row in rows])


def _number(connection: Connection, batch_id: str, member: Member) -> int | None:
    """Under which it comes into the batch; None where it is in there."""
    same = batch_jobs.c.number == member.number
    if member.name is not None:
        same = or_(same, batch_jobs.c.name == member.name)
    query = select(batch_jobs.c.number, batch_jobs.c.name)
    there = connection.execute(query.where(batch_jobs.c.batch_id == batch_id, same)).all()
    if not there:
        return member.number
    if any(row.name == member.name for row in there):
        return None
    last = select(func.max(batch_jobs.c.number)).where(batch_jobs.c.batch_id == batch_id)
    return int(connection.execute(last).scalar_one()) + 1


def _members(connection: Connection, batch_id: str) -> list[tuple[str | None, str | None]]:
    """Job ids and states, in the order of the request; no state of a job that was cleaned away."""
    rows = connection.execute(
        select(batch_jobs.c.job_id, jobs.c.state)
        .join(jobs, jobs.c.id == batch_jobs.c.job_id, isouter=True)
        .where(batch_jobs.c.batch_id == batch_id)
        .order_by(batch_jobs.c.number)
    )
    return [(row.job_id, row.state) for row in rows]


def _lines(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield _line(REPORT_COLUMNS)
    for *first, error in rows:
        said = error if isinstance(error, dict) else {}
        slug = str(said.get("type", "")).rpartition("/")[2]
        yield _line("" if v is None else v for v in (*first, slug, said.get("detail", "")))


def _line(values: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
    return buffer.getvalue()
