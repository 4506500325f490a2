"""The queue in a table of SQLite or PostgreSQL.

Whose time a lease is. On one host all processes read one clock, and SQLite's queue takes it. Hosts
that share PostgreSQL do not agree: with clocks 30 s apart a lease of 60 s would last 30 s in
another's eyes, and a host whose clock jumped by an hour would take every running job from its
worker, use up its attempts, and so fail jobs that nothing is wrong with. So there the database's
own clock counts (`statement_timestamp()`, in the same statement, without a round trip). That saves
work; what is *right* depends on no clock: only the fence and the unique live result decide who
publishes. A clock put back by an hour leaves leases and pauses that end too late, and `claim`
shortens them.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    Connection,
    Engine,
    Float,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    extract,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import postgresql, sqlite

from service.database import idempotency_keys, jobs, reading, results, slides, workers
from service.errors import Conflict, NotFound
from service.ids import new_id
from service.jobs import statements
from service.jobs.job import (
    MAX_ATTEMPTS,
    Job,
    JobState,
    NewJob,
    NewResult,
    Submitted,
    Verdict,
    other_work,
    queue_full,
    slide_gone,
    worker_lost,
)
from service.jobs.queue import Snapshot, WorkerSeen
from service.jobs.statements import Now
from service.jobs.turns import Turn, jobs_ahead

__all__ = ["SqlQueue"]

logger = logging.getLogger(__name__)

SUBMIT_LOCK = 0x777369_71  # of PostgreSQL's advisory locks: "wsi", queue
FORGET_WORKER_S = 86_400

INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class SqlQueue:
    """See `Queue`. Any number of processes may have one on the same database.

    clock: Unix seconds. The default is replaced by the database's clock on PostgreSQL. tidy_s: how
    often claims that find a job look for lost ones; asking each time took a fifth of a claim.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease_s: float,
        max_queued: int,
        max_queued_per_tenant: int,
        clock: Callable[[], float] = time.time,
        tidy_s: float = 1.0,
    ) -> None:
        self._engine = engine
        self._lease_s = lease_s
        self._max_queued = max_queued
        self._max_queued_per_tenant = max_queued_per_tenant
        self._clock = clock
        self._tidy_s = tidy_s
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._insert = INSERTS[engine.dialect.name]
        self._tidy_at = 0.0  # of the monotonic clock
        # of one claim a third was spent on building the statement, with SQLite's lock held
        now = self._when()
        worker: BindParameter[str] = bindparam("worker")
        self._who_waits = statements.who_waits(now)
        self._whose_turn = statements.whose_turn(now)
        self._claim = statements.claim(now, lease_s, bindparam("whose"), worker)
        self._troubled = statements.troubled(self._when(), lease_s)

    def submit(self, new: NewJob) -> Submitted:
        with self._engine.begin() as connection:
            if self._is_postgresql:  # one at a time, as on SQLite: what follows looks, then writes
                connection.execute(select(func.pg_advisory_xact_lock(SUBMIT_LOCK)))
            earlier = self._earlier(connection, new)
            if earlier is not None:
                return Submitted(earlier, created=False)
            under_way = connection.execute(statements.under_way(new.tenant, new.work_key)).first()
            job = self._add(connection, new) if under_way is None else _job(under_way)
            self._remember_key(connection, new, job)
            return Submitted(job, created=under_way is None)

    def get(self, tenant: str, job_id: str) -> Job:
        with reading(self._engine) as connection:
            return self._get(connection, tenant, job_id)

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None = None,
        state: JobState | None = None,
        batch_id: str | None = None,
    ) -> Sequence[Job]:
        statement = select(jobs).where(jobs.c.tenant == tenant)
        if before is not None:
            statement = statement.where(jobs.c.id < before)
        if state is not None:
            statement = statement.where(jobs.c.state == state)
        if batch_id is not None:
            statement = statement.where(jobs.c.batch_id == batch_id)
        return [_job(row) for row in self._read(statement.order_by(jobs.c.id.desc()).limit(limit))]

    def snapshot(self, job_ids: Collection[str]) -> Mapping[str, Snapshot]:
        with reading(self._engine) as connection:
            rows = connection.execute(select(jobs).where(jobs.c.id.in_(job_ids))).all()
            found = [_job(row) for row in rows]
            queued = [job.id for job in found if job.state is JobState.QUEUED]
            asked = statements.positions(queued, self._now())
            before = {row[0]: int(row[1]) for row in connection.execute(asked)} if queued else {}
            turns = self._turns(connection) if before else {}
        return {
            job.id: Snapshot(
                job,
                jobs_ahead(turns, job.tenant, before[job.id]) if job.id in before else None,
            )
            for job in found
        }

    def position(self, job: Job) -> int | None:
        with reading(self._engine) as connection:
            before = connection.scalar(statements.position(job.id, self._now()))
            if before is None:
                return None
            return jobs_ahead(self._turns(connection), job.tenant, int(before))

    def depth(
        self, tenant: str | None = None, states: Collection[JobState] = tuple(JobState)
    ) -> Mapping[JobState, int]:
        counted = {row.state: row[1] for row in self._read(statements.depth(tenant, *states))}
        return {state: counted.get(state, 0) for state in states}

    def claim(self, worker: str) -> Job | None:
        given = {"now": self._clock(), "worker": worker}
        row = self._claim_next(given)
        if row is None or time.monotonic() >= self._tidy_at:
            self._tidy()
            self._tidy_at = time.monotonic() + self._tidy_s
        return None if row is None else _job(row)

    def _claim_next(self, given: Mapping[str, Any]) -> Row[Any] | None:
        """Of the first tenant that has a job which nobody takes at this moment.

        Whose turn it is, is asked before: SQLite lets one process write at a time.
        """
        with reading(self._engine) as connection:
            tenants = connection.scalars(self._who_waits, given).all()
            if len(tenants) > 1:
                tenants = connection.scalars(self._whose_turn, given).all()
        for tenant in tenants:
            with self._engine.begin() as connection:
                row = connection.execute(self._claim, {**given, "whose": tenant}).first()
            if row is not None:
                return row
        return None

    def heartbeat(self, job: Job, stage: str | None, done: int, total: int) -> Verdict:
        now = self._now()
        statement = statements.of_owner(job).values(
            lease_until=now + self._lease_s, stage=stage, done=done, total=total, updated_at=now
        )
        with self._engine.begin() as connection:
            row = connection.execute(statement.returning(jobs.c.cancel_requested)).first()
        if row is None:
            return Verdict.LOST
        return Verdict.CANCEL if row.cancel_requested else Verdict.GO_ON

    def succeed(self, job: Job, result: NewResult) -> bool:
        with self._engine.begin() as connection:
            mine = select(jobs).where(jobs.c.id == job.id, jobs.c.fence == job.fence)
            row = connection.execute(mine.with_for_update()).first()
            if row is None or row.state != JobState.RUNNING:
                # this fence has succeeded before, and the answer was lost on its way
                return row is not None and bool(row.state == JobState.SUCCEEDED)
            result_id = self._publish(connection, job, result)
            now = self._now()
            ended = statements.of_owner(job).values(
                state=JobState.SUCCEEDED,
                result_id=result_id,
                cached=result_id != result.id,
                lease_until=None,
                finished_at=now,
                updated_at=now,
            )
            return connection.execute(ended).rowcount == 1

    def fail(self, job: Job, problem: Mapping[str, Any], *, retry_in_s: float | None) -> bool:
        now = self._now()
        statement = statements.of_owner(job)
        if retry_in_s is not None and job.attempt < MAX_ATTEMPTS:
            again = statements.queued_or_cancelled(statement, now)
            return self._change(again.values(not_before=now + retry_in_s))
        return self._change(
            statement.values(
                state=JobState.FAILED,
                error=dict(problem),
                lease_until=None,
                finished_at=now,
                updated_at=now,
            )
        )

    def confirm_cancel(self, job: Job) -> bool:
        asked = statements.of_owner(job).where(jobs.c.cancel_requested)
        return self._change(statements.cancelled_at(asked, self._now()))

    def hand_back(self, job: Job, *, retry_in_s: float = 0) -> bool:
        now = self._now()
        waiting = statements.queued_or_cancelled(statements.of_owner(job), now)
        return self._change(waiting.values(attempt=jobs.c.attempt - 1, not_before=now + retry_in_s))

    def cancel(self, tenant: str, job_id: str) -> Job:
        with self._engine.begin() as connection:
            row = connection.execute(statements.cancel(tenant, job_id, self._now())).first()
            job = self._get(connection, tenant, job_id) if row is None else _job(row)
        if row is None and job.state is not JobState.CANCELLED:
            raise Conflict(f"{job_id}: it has {job.state} already, and cannot be cancelled")
        return job

    def beat(self, worker: str, facts: Mapping[str, Any]) -> None:
        now = self._now()
        row = {"seen_at": now, "facts": dict(facts)}
        seen = self._insert(workers).values(id=worker, **row)
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.seen_at < now - FORGET_WORKER_S))
            connection.execute(seen.on_conflict_do_update(index_elements=["id"], set_=row))

    def workers(self, seen_within_s: float) -> Sequence[WorkerSeen]:
        recent = workers.c.seen_at >= self._now() - seen_within_s
        rows = self._read(select(workers).where(recent).order_by(workers.c.id))
        return [WorkerSeen(row.id, row.seen_at, row.facts) for row in rows]

    def _now(self) -> Now:
        when = self._when()
        return literal(self._clock(), Float) if isinstance(when, BindParameter) else when

    def _when(self) -> Now:
        """The time in a statement that is built once: given as "now", or the database's."""
        if self._is_postgresql and self._clock is time.time:
            return sql_cast(extract("epoch", func.statement_timestamp()), Float)
        return bindparam("now", type_=Float)

    def _read(self, statement: Select[Any]) -> Sequence[Any]:
        with reading(self._engine) as connection:
            return connection.execute(statement).all()

    def _turns(self, connection: Connection) -> Mapping[str, Turn]:
        rows = connection.execute(statements.turns(self._now()))
        return {tenant: Turn(*fields) for tenant, *fields in rows}

    def _change(self, statement: Update) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def _get(self, connection: Connection, tenant: str, job_id: str) -> Job:
        mine = select(jobs).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
        row = connection.execute(mine).first()
        if row is None:
            raise NotFound(f"{job_id}: there is no such job")
        return _job(row)

    def _earlier(self, connection: Connection, new: NewJob) -> Job | None:
        """The job that this client's key stands for. Raises IdempotencyMismatch."""
        if new.idempotency_key is None:
            return None
        known = select(jobs).join(idempotency_keys, idempotency_keys.c.job_id == jobs.c.id)
        row = connection.execute(
            known.where(
                idempotency_keys.c.tenant == new.tenant,
                idempotency_keys.c.key == new.idempotency_key,
            )
        ).first()
        if row is not None and row.work_key != new.work_key:
            raise other_work(new.idempotency_key, row.id)
        return None if row is None else _job(row)

    def _remember_key(self, connection: Connection, new: NewJob, job: Job) -> None:
        if new.idempotency_key is not None:
            row = {"tenant": new.tenant, "key": new.idempotency_key, "job_id": job.id}
            connection.execute(insert(idempotency_keys).values(row))

    def _add(self, connection: Connection, new: NewJob) -> Job:
        # after the look for work under way: a job that ended in between has its result by now
        done = connection.scalar(statements.live_result(new.tenant, new.work_key))
        if done is None:
            self._require_slide(connection, new.slide_id)
            self._require_room(connection, new.tenant)
        now, made_at = self._now(), self._clock()
        row = {
            "id": new_id("job", made_at),
            "tenant": new.tenant,
            "slide_id": new.slide_id,
            "work_key": new.work_key,
            "request": dict(new.request),
            "priority": new.priority,
            "batch_id": new.batch_id,
            "result_id": done or new_id("res", made_at),
            "cached": done is not None,
            "state": JobState.QUEUED if done is None else JobState.SUCCEEDED,
            "finished_at": None if done is None else now,
            "cancel_requested": False,
            **dict.fromkeys(("done", "total", "attempt", "fence"), 0),
            "not_before": 0.0,  # not `now`: a clock put back must not make it wait
            **dict.fromkeys(("created_at", "updated_at"), now),
            "key_id": new.key_id,
        }
        return _job(connection.execute(insert(jobs).values(row).returning(jobs)).one())

    def _require_slide(self, connection: Connection, slide_id: str) -> None:
        """Nobody deletes it before the job is there, and needs it."""
        there = select(slides.c.id).where(slides.c.id == slide_id).with_for_update(read=True)
        if connection.execute(there).first() is None:
            raise slide_gone()

    def _require_room(self, connection: Connection, tenant: str) -> None:
        for owner, limit in ((None, self._max_queued), (tenant, self._max_queued_per_tenant)):
            queued = connection.execute(statements.depth(owner, JobState.QUEUED)).first()
            if queued is not None and queued[1] >= limit:
                raise queue_full(limit, is_own=owner is not None)

    def _publish(self, connection: Connection, job: Job, result: NewResult) -> str:
        """Id of the tenant's one live result of this work: the new one, or an earlier one."""
        row = {
            "id": result.id,
            "tenant": job.tenant,
            "job_id": job.id,
            "slide_id": result.slide_id,
            "work_key": result.work_key,
            "size_bytes": result.size_bytes,
            "manifest_sha256": result.manifest_sha256,
            "created_at": self._now(),
            "key_id": job.key_id,
        }
        new = self._insert(results).values(row).returning(results.c.id)
        unless_live = new.on_conflict_do_nothing(
            index_elements=["tenant", "work_key"], index_where=results.c.deleted_at.is_(None)
        )
        while True:
            published = connection.scalar(unless_live)
            published = published or connection.scalar(
                statements.live_result(job.tenant, result.work_key)
            )
            if published is not None:  # else the earlier one was deleted between the two
                return cast(str, published)

    def _tidy(self) -> None:
        """Ends and mends what lost workers and a clock that was put back left behind."""
        with reading(self._engine) as connection:
            if connection.execute(self._troubled, {"now": self._clock()}).first() is None:
                return
        with self._engine.begin() as connection:
            connection.execute(statements.shorten_leases(self._now(), self._lease_s))
            connection.execute(statements.shorten_pauses(self._now(), self._lease_s))
            for row in connection.execute(statements.fail_lost(self._now(), worker_lost())):
                logger.warning("ended: its worker is lost", extra={"job": row.id})


def _job(row: Row[Any]) -> Job:
    fields = dict(row._mapping)
    return Job(**(fields | {"state": JobState(fields["state"])}))
