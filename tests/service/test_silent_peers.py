"""On PostgreSQL nobody waits for long for somebody else who has fallen silent."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import OperationalError

from service.database import MIGRATION_LOCK, _exclusive, open_database, upgrade
from service.jobs.sql import SUBMIT_LOCK, SqlQueue
from service.problems import problem_of
from service.worker.supervisor import DATABASE_ERRORS
from tests.service.jobs.builders import LEASE_S, new_job
from tests.service.jobs.databases import add_slide
from tests.service.postgresql import cluster, fresh_database

LIMITS = ("lock_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def opened() -> Iterator[Callable[[str], Engine]]:
    engines = []

    def open_and_keep(url: str) -> Engine:
        engines.append(open_database(url))
        return engines[-1]

    yield open_and_keep
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="module")
def url() -> str:
    url = fresh_database(cluster())
    engine = open_database(url)
    upgrade(engine)
    add_slide(engine)
    engine.dispose()
    return url


def queue_on(engine: Engine) -> SqlQueue:
    return SqlQueue(engine, lease_s=LEASE_S, max_queued=9, max_queued_per_tenant=9)


def take(connection: Connection, lock: int) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(lock)))


def limits_of(connection: Connection) -> list[str]:
    return [str(connection.scalar(text(f"SHOW {name}"))) for name in LIMITS]


def test_a_statement_and_a_transaction_have_limits(url: str, opened: Callable[[str], Engine]):
    engine = opened(url)
    for _ in range(2):  # new, and out of the pool
        with engine.connect() as connection:
            assert limits_of(connection) == ["30s", "1min"]


def test_limits_that_the_url_gives_count(opened: Callable[[str], Engine]):
    fresh = fresh_database(cluster())
    given = "-c%20lock_timeout%3D5s%20-c%20work_mem%3D1MB"
    engine = opened(f"{fresh}&options={given}")
    with engine.connect() as connection:
        assert [*limits_of(connection), connection.scalar(text("SHOW work_mem"))] == [
            "5s",
            "1min",
            "1MB",
        ]


def test_a_limit_of_a_name_that_ends_alike_does_not_count(opened: Callable[[str], Engine]):
    engine = opened(f"{fresh_database(cluster())}&options=-c%20deadlock_timeout%3D2s")
    with engine.connect() as connection:
        assert limits_of(connection) == ["30s", "1min"]


def test_a_connection_that_is_cut_is_noticed(url: str, opened: Callable[[str], Engine]):
    """Half a minute for TCP to give up; Linux' own limit is a quarter of an hour."""
    with opened(f"{url}&keepalives_idle=7").connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        given = driver.info.get_parameters()
    names = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count")
    # what is libpq's own default is not among them
    assert [given.get(name, "1") for name in names] == ["1", "7", "5", "3"]
    assert given["tcp_user_timeout"] == "30000"


def test_who_waits_too_long_for_a_lock_is_told_that_it_is_busy(
    url: str, opened: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
):
    silent = opened(url)
    monkeypatch.setattr("service.postgresql.LOCK_S", 0.05)
    queue = queue_on(opened(url))
    with silent.begin() as holding:
        take(holding, SUBMIT_LOCK)
        with pytest.raises(DATABASE_ERRORS, match="lock timeout") as busy:
            queue.submit(new_job())
    assert problem_of(busy.value)["status"] == 503
    assert queue.submit(new_job()).created


def test_a_silent_transaction_is_ended_and_the_next_one_goes_on(
    url: str, opened: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
):
    queue = queue_on(opened(url))
    monkeypatch.setattr("service.postgresql.SILENT_S", 1)
    silent = opened(url)

    def fall_silent() -> None:
        with silent.begin() as holding:
            take(holding, SUBMIT_LOCK)
            queue.submit(new_job("other"))  # has the lock once the server has ended the first
            holding.execute(select(1))

    with pytest.raises(DATABASE_ERRORS, match="idle-in-transaction") as ended:
        fall_silent()
    assert problem_of(ended.value)["type"] == "/problems/busy"
    assert queue_on(silent).get("ann", queue.page("ann", limit=1)[0].id)


def test_a_commit_after_too_long_a_silence_says_that_it_failed(
    url: str, opened: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
):
    watching = opened(url)
    monkeypatch.setattr("service.postgresql.SILENT_S", 0.05)
    silent = opened(url)

    def fall_silent() -> None:
        with silent.begin() as holding:
            take(holding, SUBMIT_LOCK)
            with watching.begin() as next_one:
                take(next_one, SUBMIT_LOCK)

    with pytest.raises(OperationalError):
        fall_silent()


def test_a_migration_is_waited_for_as_long_as_it_takes(opened: Callable[[str], Engine]):
    """Another process brings the tables to this release; a lock is given up after 1 ms here."""
    fresh = fresh_database(cluster())
    engine = opened(f"{fresh}&options=-c%20lock_timeout%3D1ms")
    with opened(fresh).connect() as holding:
        take(holding, MIGRATION_LOCK)
        done = threading.Timer(0.2, holding.rollback)
        done.start()
        upgrade(engine)
        done.join()


def test_a_migration_has_no_limits_and_leaves_them_as_they_were(
    url: str, opened: Callable[[str], Engine]
):
    engine = opened(url)
    with _exclusive(engine) as connection:
        assert limits_of(connection) == ["0", "0"]
    with engine.connect() as connection:
        assert limits_of(connection) == ["30s", "1min"]
