"""What the queue asks of a database is found by an index, however many jobs have ended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Float, literal
from sqlalchemy.sql import ClauseElement

from service.database import open_database, upgrade
from service.jobs import JobState, statements
from tests.service.jobs.databases import fresh_sqlite
from tests.service.postgresql import cluster, fresh_database

NOW = literal(1.0, Float)

ASKED: dict[str, Any] = {
    "claim": statements.claim(NOW, 60, literal("ann"), literal("w1")),
    "who_waits": statements.who_waits(NOW),
    "whose_turn": statements.whose_turn(NOW),
    "turns": statements.turns(NOW),
    "troubled": statements.troubled(NOW, 60),
    "position": statements.position("job_1", NOW),
    "positions": statements.positions(["job_1"], NOW),
    "under_way": statements.under_way("ann", "work"),
    "live_result": statements.live_result("ann", "work"),
    "queued": statements.depth(None, JobState.QUEUED),
    "queued of a tenant": statements.depth("ann", JobState.QUEUED),
    "depth of a tenant": statements.depth("ann"),
}


def plan(engine: Engine, explain: str, statement: ClauseElement) -> list[str]:
    sql = str(statement.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
        rows = connection.exec_driver_sql(f"{explain} {sql}".replace("%", "%%")).all()
    return [str(row[-1]).strip() for row in rows]


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = fresh_sqlite(tmp_path / "wsi.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Engine]:
    engine = open_database(fresh_database(cluster()))
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("name", ASKED)
def test_sqlite_searches_an_index(name: str, sqlite: Engine) -> None:
    lines = plan(sqlite, "EXPLAIN QUERY PLAN", ASKED[name])
    of_tables = [line for line in lines if " jobs" in line or " results" in line or " me " in line]

    assert of_tables
    assert all(line.startswith("SEARCH") and "INDEX" in line for line in of_tables), lines


def test_sqlite_finds_the_first_in_line_without_sorting(sqlite: Engine) -> None:
    lines = plan(sqlite, "EXPLAIN QUERY PLAN", ASKED["claim"])
    waiting = lines[lines.index("CO-ROUTINE waiting") + 1 : lines.index("SCAN waiting")]

    assert waiting == ["SEARCH jobs USING COVERING INDEX ix_jobs_claim (state=? AND tenant=?)"]


@pytest.mark.parametrize("name", ASKED)
def test_postgresql_can_take_an_index(name: str, postgresql: Engine) -> None:
    """On so few rows it would not of itself, so reading whole tables is made expensive."""
    lines = plan(postgresql, "EXPLAIN", ASKED[name])

    assert any("Index" in line for line in lines)
    assert not any("Seq Scan" in line for line in lines), lines
