"""Whatever happens in whatever order, a queue does as the model does."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from sqlalchemy import Engine

from service.database import open_database, upgrade
from service.errors import Conflict, IdempotencyMismatch
from service.jobs import Job, JobState, Queue
from service.jobs.memory import MemoryQueue
from service.jobs.sql import SqlQueue
from tests.service.jobs.builders import LEASE_S, PROBLEM, new_job, result_of
from tests.service.jobs.clock import FakeClock
from tests.service.jobs.databases import add_slide, fresh_sqlite
from tests.service.jobs.model import Model, ModelJob
from tests.service.postgresql import cluster, fresh_database

QUICK = settings(
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
THOROUGH = settings(QUICK, max_examples=60, stateful_step_count=60)


class QueueMachine(RuleBasedStateMachine):
    """Workers that heartbeat, die, come late and publish; clients that submit and cancel."""

    tries: Any = Bundle("tries")  # (ModelJob, Job as it was claimed): a worker's memory of it

    def make_queue(self) -> Queue:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.model = Model(LEASE_S)
        self.published: dict[str, int] = {}
        self.queue = self.make_queue()

    @rule(
        work=st.sampled_from("abcd"),
        key=st.none() | st.sampled_from(["k1", "k2"]),
        priority=st.sampled_from([0, 0, 1]),
    )
    def submit(self, work: str, key: str | None, priority: int) -> None:
        new = new_job(work, idempotency_key=key, priority=priority)
        try:
            expected = self.model.stands_for(work, key)
        except KeyError:
            with pytest.raises(IdempotencyMismatch):
                self.queue.submit(new)
            return
        submitted = self.queue.submit(new)
        assert submitted.created == (expected is None)
        job = expected or self.add(submitted.job, work, priority)
        assert submitted.job.id == job.id
        if key is not None:
            self.model.keys[key] = job

    def add(self, made: Job, work: str, priority: int) -> ModelJob:
        job = ModelJob(made.id, len(self.model.jobs), work, priority, made.result_id)
        self.model.jobs.append(job)
        assert made.cached == (work in self.model.results)
        if made.cached:
            job.state, job.result = JobState.SUCCEEDED, self.model.results[work]
        return job

    @rule(target=tries, worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> Any:
        claimed, expected = self.queue.claim(worker), self.model.claim(self.clock.now)
        assert (claimed and claimed.id) == (expected and expected.id)
        if claimed is None or expected is None:
            return multiple()
        assert (claimed.fence, claimed.attempt) == (expected.fence, expected.attempt)
        return expected, claimed

    @rule(tried=tries)
    def heartbeat(self, tried: tuple[ModelJob, Job]) -> None:
        job, claimed = tried
        verdict = self.queue.heartbeat(claimed, "score", 1, 2)
        assert verdict is self.model.heartbeat(job, claimed.fence, self.clock.now)

    @rule(tried=tries)
    def succeed(self, tried: tuple[ModelJob, Job]) -> None:
        job, claimed = tried
        was_running = self.model.owns(job, claimed.fence)
        answer = self.queue.succeed(claimed, result_of(claimed))
        assert answer == self.model.succeed(job, claimed.fence)
        if was_running:
            self.published[job.id] = self.published.get(job.id, 0) + 1

    @rule(tried=tries, retry_in_s=st.none() | st.sampled_from([0.0, 30.0]))
    def fail(self, tried: tuple[ModelJob, Job], retry_in_s: float | None) -> None:
        job, claimed = tried
        owns = self.model.owns(job, claimed.fence)
        assert self.queue.fail(claimed, PROBLEM, retry_in_s=retry_in_s) == owns
        if owns and retry_in_s is not None and job.attempt < 3:
            self.model.wait_again(job, self.clock.now + retry_in_s)
        elif owns:
            job.state = JobState.FAILED

    @rule(tried=tries)
    def hand_back(self, tried: tuple[ModelJob, Job]) -> None:
        job, claimed = tried
        owns = self.model.owns(job, claimed.fence)
        assert self.queue.hand_back(claimed) == owns
        if owns:
            job.attempt -= 1
            self.model.wait_again(job, job.not_before)

    @rule(tried=tries)
    def confirm_cancel(self, tried: tuple[ModelJob, Job]) -> None:
        job, claimed = tried
        expected = self.model.owns(job, claimed.fence) and job.cancel
        assert self.queue.confirm_cancel(claimed) == expected
        if expected:
            job.state = JobState.CANCELLED

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.model.jobs), label="job")
        if job.state in (JobState.SUCCEEDED, JobState.FAILED):
            with pytest.raises(Conflict):
                self.queue.cancel("ann", job.id)
            return
        self.queue.cancel("ann", job.id)
        if job.state is JobState.QUEUED or self.model.is_lost(job, self.clock.now):
            job.state = JobState.CANCELLED
        job.cancel = True

    @rule(seconds=st.sampled_from([1.0, 20.0, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def jobs_are_as_in_the_model(self) -> None:
        seen = self.queue.snapshot([job.id for job in self.model.jobs])
        line = self.model.line(self.clock.now)
        for job in self.model.jobs:
            row = seen[job.id].job
            assert (row.state, row.attempt, row.fence) == (job.state, job.attempt, job.fence)
            assert row.result_id == job.result
            ahead = [
                one for one in line if (-one.priority, one.number) < (-job.priority, job.number)
            ]
            waits = job.state is JobState.QUEUED
            assert seen[job.id].position == (len(ahead) if waits else None)

    @invariant()
    def nothing_is_published_twice(self) -> None:
        assert all(times == 1 for times in self.published.values())


class MemoryMachine(QueueMachine):
    def make_queue(self) -> Queue:
        return MemoryQueue(
            lease_s=LEASE_S, max_queued=999, max_queued_per_tenant=999, clock=self.clock
        )


class SqlMachine(QueueMachine):
    def make_engine(self) -> Engine:
        raise NotImplementedError

    def make_queue(self) -> Queue:
        self.engine = self.make_engine()
        add_slide(self.engine)
        return SqlQueue(
            self.engine,
            lease_s=LEASE_S,
            max_queued=999,
            max_queued_per_tenant=999,
            clock=self.clock,
            tidy_s=0,
        )

    def teardown(self) -> None:
        self.engine.dispose()


class SqliteMachine(SqlMachine):
    def make_engine(self) -> Engine:
        self.folder = tempfile.TemporaryDirectory()
        return fresh_sqlite(Path(self.folder.name) / "wsi.sqlite3")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class PostgresqlMachine(SqlMachine):
    def make_engine(self) -> Engine:
        engine = open_database(_postgresql())
        with engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE jobs, results, idempotency_keys, slides")
        return engine


@cache
def _postgresql() -> str:
    url = fresh_database(cluster())
    engine = open_database(url)
    upgrade(engine)
    engine.dispose()
    return url


class TestMemory(MemoryMachine.TestCase):
    settings = settings(QUICK, max_examples=80)


class TestSqlite(SqliteMachine.TestCase):
    settings = settings(QUICK, max_examples=15)


@pytest.mark.slow
class TestMemoryThoroughly(MemoryMachine.TestCase):
    settings = THOROUGH


@pytest.mark.slow
class TestSqliteThoroughly(SqliteMachine.TestCase):
    settings = THOROUGH


@pytest.mark.slow
class TestPostgresqlThoroughly(PostgresqlMachine.TestCase):
    settings = settings(THOROUGH, max_examples=20)
