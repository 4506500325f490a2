"""The queue in a database keeps the contract, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, select, update

from service.database import metadata, open_database, results, slides, upgrade
from service.jobs import JobState, Queue
from service.jobs.sql import SqlQueue
from tests.service.jobs.builders import LEASE_S, claimed, new_job, result_of, start
from tests.service.jobs.clock import FakeClock
from tests.service.jobs.contract import QueueContract
from tests.service.jobs.databases import add_slide, fresh_sqlite
from tests.service.postgresql import cluster, fresh_database


class SqlContract(QueueContract):
    @pytest.fixture
    def make_queue(self, engine: Engine, clock: FakeClock) -> Callable[..., Queue]:
        add_slide(engine)
        make = partial(SqlQueue, engine, lease_s=LEASE_S, clock=clock)
        return partial(make, max_queued=100, max_queued_per_tenant=100)

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError

    def forget_result(self, queue: Queue, result_id: str) -> None:
        assert isinstance(queue, SqlQueue)
        gone = update(results).where(results.c.id == result_id).values(deleted_at=1.0)
        with queue._engine.begin() as connection:
            assert connection.execute(gone).rowcount == 1

    def forget_slide(self, queue: Queue, slide_id: str) -> None:
        assert isinstance(queue, SqlQueue)
        with queue._engine.begin() as connection:
            gone = connection.execute(delete(slides).where(slides.c.id == slide_id))
        assert gone.rowcount == 1

    def test_a_result_is_recorded_with_its_success(
        self, queue: Queue, engine: Engine, clock: FakeClock
    ) -> None:
        job = start(queue, new_job(key_id="key_1"))
        queue.succeed(job, result_of(job, size_bytes=6_000_000_000))
        with engine.connect() as connection:
            row = connection.execute(select(results)).one()

        assert (row.id, row.tenant, row.job_id) == (job.result_id, "ann", job.id)
        assert (row.slide_id, row.work_key) == ("sld_1", "work")
        assert (row.size_bytes, row.manifest_sha256) == (6_000_000_000, "ab" * 32)
        assert row.created_at == pytest.approx(clock.now, abs=1)
        assert (row.deleted_at, row.key_id) == (None, "key_1")

    def test_a_stale_owner_records_no_result(
        self, queue: Queue, engine: Engine, clock: FakeClock
    ) -> None:
        stale = start(queue, new_job(), "w1")
        clock.advance(LEASE_S + 1)
        claimed(queue, "w2")
        queue.succeed(stale, result_of(stale))

        with engine.connect() as connection:
            assert connection.execute(select(results)).all() == []

    def test_lost_jobs_end_beside_jobs_that_wait(
        self, make_queue: Callable[..., Queue], clock: FakeClock
    ) -> None:
        queue = make_queue(tidy_s=0)
        lost = start(queue, new_job("lost"))
        for _ in range(2):
            clock.advance(LEASE_S + 1)
            assert claimed(queue).id == lost.id
        clock.advance(LEASE_S + 1)
        start(queue, new_job("other"))

        assert queue.get("ann", lost.id).state is JobState.FAILED


class TestSqlQueueOnSqlite(SqlContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        engine = fresh_sqlite(tmp_path / "wsi.sqlite3")
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def database() -> Iterator[Engine]:
    """On PostgreSQL, for all tests here in turn: making one takes longer than emptying it."""
    engine = open_database(fresh_database(cluster()))
    upgrade(engine)
    yield engine
    engine.dispose()


class TestSqlQueueOnPostgresql(SqlContract):
    @pytest.fixture
    def engine(self, database: Engine) -> Engine:
        tables = ", ".join(metadata.tables)
        with database.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {tables}")
        return database

    def test_without_a_clock_of_its_own_it_takes_the_databases(self, engine: Engine) -> None:
        add_slide(engine)
        queue = SqlQueue(engine, lease_s=LEASE_S, max_queued=9, max_queued_per_tenant=9)
        queue.submit(new_job())
        job = claimed(queue)
        with engine.begin() as connection:
            now = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())")
            database_s = float(now.scalar_one())

        assert job.started_at is not None
        assert job.lease_until == job.started_at + LEASE_S
        assert 0 <= database_s - job.started_at < 60
