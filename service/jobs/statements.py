"""The SQL of the queue, as SQLAlchemy builds it: the same statements on SQLite and PostgreSQL.

`now` is an expression (Unix seconds): a literal, or the database's own clock.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    FromClause,
    Select,
    Update,
    and_,
    case,
    func,
    literal,
    null,
    or_,
    select,
    text,
    union_all,
    update,
)

from service.database import LIVE, jobs, results
from service.jobs.job import LONGEST_RETRY_S, MAX_ATTEMPTS, Job, JobState
from service.jobs.turns import MOST_RUNNING

__all__ = [
    "MOST_TENANTS",
    "cancel",
    "cancelled_at",
    "claim",
    "depth",
    "fail_lost",
    "idle",
    "live_result",
    "of_owner",
    "position",
    "positions",
    "queued_or_cancelled",
    "shorten_leases",
    "shorten_pauses",
    "troubled",
    "turns",
    "under_way",
    "who_waits",
    "whose_turn",
]

Now = ColumnElement[float]

QUEUED = jobs.c.state == JobState.QUEUED
RUNNING = jobs.c.state == JobState.RUNNING
IN_ORDER = (jobs.c.priority.desc(), jobs.c.id)

IDLE: Mapping[str, Any] = {
    "worker": null(),
    "lease_until": null(),
    "stage": null(),
    "done": 0,
    "total": 0,
}
"""Columns of a job that nobody works on."""


MOST_TENANTS = 50
"""That are looked at for a job at one claim. Others may hold the rows of the first ones locked."""


def who_waits(now: Now) -> Select[Any]:
    """Tenants that have a job to be claimed: two at most, in no order."""
    return select(_tenants(now).c.tenant).limit(2)


def whose_turn(now: Now) -> Select[Any]:
    """Tenants that have a job to be claimed, in the order of `service.jobs.turns`."""
    turn = _turns(now).subquery()
    in_order = (turn.c.running, turn.c.served_at, turn.c.oldest)
    return select(turn.c.tenant).order_by(*in_order).limit(MOST_TENANTS)


def turns(now: Now) -> Select[Any]:
    """Rows (tenant, fields of Turn) of those that have a job to be claimed."""
    waiting = _tenants(now)
    queued = _count(QUEUED, jobs.c.not_before <= now, _of(waiting), of=waiting)
    left = _count(_over(now), ~_hopeless(), _of(waiting), of=waiting)
    return _turns(now, waiting).add_columns((queued + left).label("waiting"))


def _turns(now: Now, waiting: CTE | None = None) -> Select[Any]:
    waiting = _tenants(now) if waiting is None else waiting
    running = select(jobs.c.lease_until).where(_of(waiting), jobs.c.lease_until > now)
    last = select(func.max(jobs.c.started_at)).where(_of(waiting))
    oldest = select(func.min(jobs.c.id)).where(_of(waiting), QUEUED)
    some = running.correlate(waiting).limit(MOST_RUNNING).subquery()
    return select(
        waiting.c.tenant,
        select(func.count()).select_from(some).scalar_subquery().label("running"),
        func.coalesce(last.correlate(waiting).scalar_subquery(), 0.0).label("served_at"),
        func.coalesce(oldest.correlate(waiting).scalar_subquery(), "").label("oldest"),
    )


def _tenants(now: Now) -> CTE:
    """One seek in ix_jobs_claim a tenant, however many jobs each of them has."""
    due = and_(QUEUED, jobs.c.not_before <= now)
    first = select(func.min(jobs.c.tenant).label("tenant")).where(due)
    known = first.cte("known", recursive=True)
    after = select(func.min(jobs.c.tenant)).where(due, jobs.c.tenant > known.c.tenant)
    further = select(after.correlate(known).scalar_subquery()).where(known.c.tenant.is_not(None))
    known = known.union_all(further)
    left = select(jobs.c.tenant).where(_over(now), ~_hopeless())
    return select(known.c.tenant).where(known.c.tenant.is_not(None)).union(left).cte("waits")


def _of(waiting: CTE) -> ColumnElement[bool]:
    return jobs.c.tenant == waiting.c.tenant


def claim(
    now: Now, lease_s: float, tenant: ColumnElement[str], worker: ColumnElement[str]
) -> Update:
    """Gives the tenant's first job that may run to `worker`, and returns its row.

    The two candidates come from an index each, ix_jobs_claim and that of leases. PostgreSQL locks
    both rows, and a claim beside this one skips them.
    """
    own = jobs.c.tenant == tenant
    waiting = _first(own, QUEUED, jobs.c.not_before <= now).cte("waiting")
    left = _first(own, _over(now), ~_hopeless()).cte("left_behind")
    either = union_all(select(waiting), select(left)).subquery()
    first = select(either.c.id).order_by(either.c.priority.desc(), either.c.id).limit(1)
    return (
        update(jobs)
        .where(jobs.c.id == first.scalar_subquery())
        .values(IDLE)
        .values(
            state=JobState.RUNNING,
            worker=worker,
            attempt=jobs.c.attempt + 1,
            fence=jobs.c.fence + 1,
            lease_until=now + lease_s,
            started_at=now,
            updated_at=now,
        )
        .returning(jobs)
    )


def troubled(now: Now, lease_s: float) -> Select[Any]:
    """One row where `fail_lost`, `shorten_leases` or `shorten_pauses` has something to do."""
    lost, pauses = and_(_over(now), _hopeless()), _too_late(now, lease_s)
    trouble = or_(lost, _too_long(now, lease_s), pauses)
    return select(jobs.c.id).where(trouble).limit(1)


def fail_lost(now: Now, problem: Mapping[str, Any]) -> Update:
    """Ends jobs whose lease is over and that nobody may claim again."""
    lost = select(jobs.c.id).where(_over(now), _hopeless()).with_for_update(skip_locked=True)
    cancelled = jobs.c.cancel_requested
    return (
        update(jobs)
        .where(jobs.c.id.in_(lost))
        .values(
            state=case((cancelled, JobState.CANCELLED), else_=JobState.FAILED),
            error=case((cancelled, null()), else_=literal(dict(problem), JSON)),
            lease_until=null(),
            finished_at=now,
            updated_at=now,
        )
        .returning(jobs.c.id)
    )


def shorten_leases(now: Now, lease_s: float) -> Update:
    """Leases that no worker could have taken now: the clock was put back since.

    A worker that lives prolongs its own; one that died is found after one lease, not after as long
    as the clock was ahead.
    """
    ahead = select(jobs.c.id).where(_too_long(now, lease_s)).with_for_update(skip_locked=True)
    return update(jobs).where(jobs.c.id.in_(ahead)).values(lease_until=now + lease_s)


def shorten_pauses(now: Now, lease_s: float) -> Update:
    """Likewise of jobs that wait for their next attempt."""
    ahead = select(jobs.c.id).where(_too_late(now, lease_s)).with_for_update(skip_locked=True)
    pause_s = max(LONGEST_RETRY_S, lease_s)
    return update(jobs).where(jobs.c.id.in_(ahead)).values(not_before=now + pause_s)


def of_owner(job: Job) -> Update:
    """An update that finds nothing where another worker has the job, or it has ended."""
    return update(jobs).where(jobs.c.id == job.id, jobs.c.fence == job.fence, RUNNING)


def idle(statement: Update) -> Update:
    return statement.values(IDLE)


def queued_or_cancelled(statement: Update, now: Now) -> Update:
    """A running job waits again, unless somebody cancelled it meanwhile."""
    cancelled = jobs.c.cancel_requested
    return idle(statement).values(
        state=case((cancelled, JobState.CANCELLED), else_=JobState.QUEUED),
        finished_at=case((cancelled, now), else_=null()),
        updated_at=now,
    )


def cancelled_at(statement: Update, now: Now) -> Update:
    return statement.values(
        state=JobState.CANCELLED, lease_until=null(), finished_at=now, updated_at=now
    )


def cancel(tenant: str, job_id: str, now: Now) -> Update:
    """At once where nobody works on it, else by asking; returns the row."""
    free = or_(QUEUED, jobs.c.lease_until <= now)
    return (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.tenant == tenant, or_(QUEUED, RUNNING))
        .values(
            cancel_requested=True,
            state=case((free, JobState.CANCELLED), else_=jobs.c.state),
            lease_until=case((free, null()), else_=jobs.c.lease_until),
            finished_at=case((free, now), else_=null()),
            updated_at=now,
        )
        .returning(jobs)
    )


def under_way(tenant: str, work_key: str) -> Select[Any]:
    """Equal work that will end in a result, if all goes well: at most one row, by its index."""
    return select(jobs).where(jobs.c.tenant == tenant, jobs.c.work_key == work_key, text(LIVE))


def live_result(tenant: str, work_key: str) -> Select[Any]:
    """Id of the result of equal work, where there is one: at most one row, by its index."""
    return select(results.c.id).where(
        results.c.tenant == tenant,
        results.c.work_key == work_key,
        results.c.deleted_at.is_(None),
    )


def depth(tenant: str | None, *states: JobState) -> Select[Any]:
    """Rows (state, number), read from an index alone."""
    statement = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    if states:
        statement = statement.where(jobs.c.state.in_(states))
    return statement if tenant is None else statement.where(jobs.c.tenant == tenant)


def position(job_id: str, now: Now) -> Select[Any]:
    """How many of its tenant's jobs go first; no row unless the job is queued. Ranges of
    ix_jobs_claim."""
    me = jobs.alias("me")
    own = jobs.c.tenant == me.c.tenant
    same = and_(jobs.c.priority == me.c.priority, jobs.c.id < me.c.id)
    more = jobs.c.priority > me.c.priority
    due = jobs.c.not_before <= now
    return select(
        _count(own, QUEUED, more, due, of=me)
        + _count(own, QUEUED, same, due, of=me)
        + _count(own, _over(now), ~_hopeless(), or_(more, same), of=me)
    ).where(me.c.id == job_id, me.c.state == JobState.QUEUED)


def positions(job_ids: Collection[str], now: Now) -> Select[Any]:
    """Rows (id, how many of its tenant's go first) of those that are queued, in one pass over the
    queue."""
    due = case((RUNNING, 1), (jobs.c.not_before <= now, 1), else_=0)
    before = func.sum(due).over(partition_by=jobs.c.tenant, order_by=IN_ORDER, rows=(None, -1))
    left = and_(_over(now), ~_hopeless())
    line = select(jobs.c.id, jobs.c.state, before.label("before")).where(or_(QUEUED, left)).cte()
    return select(line.c.id, func.coalesce(line.c.before, 0)).where(
        line.c.state == JobState.QUEUED, line.c.id.in_(job_ids)
    )


def _first(*conditions: ColumnElement[bool]) -> Select[Any]:
    statement = select(jobs.c.id, jobs.c.priority).where(*conditions).order_by(*IN_ORDER).limit(1)
    return statement.with_for_update(skip_locked=True)


def _count(*conditions: ColumnElement[bool], of: FromClause) -> ColumnElement[int]:
    return select(func.count()).select_from(jobs).where(*conditions).correlate(of).scalar_subquery()


def _over(now: Now) -> ColumnElement[bool]:
    """Only a running job has a lease, and an index finds those alone."""
    return jobs.c.lease_until <= now


def _hopeless() -> ColumnElement[bool]:
    return or_(jobs.c.attempt >= MAX_ATTEMPTS, jobs.c.cancel_requested)


def _too_long(now: Now, lease_s: float) -> ColumnElement[bool]:
    """Twice the lease, so that workers with somewhat different leases leave each other's alone."""
    return jobs.c.lease_until > now + 2 * lease_s


def _too_late(now: Now, lease_s: float) -> ColumnElement[bool]:
    """A job that was handed back waits a lease at most."""
    return and_(QUEUED, jobs.c.not_before > now + 2 * max(LONGEST_RETRY_S, lease_s))
