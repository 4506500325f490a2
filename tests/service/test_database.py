"""The database opens as it should, and its tables are those that the code names."""

import multiprocessing
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, inspect, select, text, update
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from service.database import (
    api_keys,
    downgrade,
    idempotency_keys,
    metadata,
    open_database,
    reading,
    upgrade,
    workers,
)
from service.errors import InvalidRequest
from tests.service.postgresql import cluster, fresh_database

BEAT = {"id": "w1", "seen_at": 0.0, "facts": {}}

IN_WORDS = {
    "sqlite": """
        SELECT m.name, c.name, json_array(c.type, c."notnull", c.dflt_value, c.pk)
            FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'
        UNION ALL SELECT m.name, i.name, json_array(i."unique", i.partial, c.seqno, c.name)
            FROM sqlite_master m, pragma_index_list(m.name) i, pragma_index_xinfo(i.name) c
            WHERE m.type = 'table'
        UNION ALL SELECT m.name, 'fk', json_array(f."from", f."table", f."to", f.on_delete)
            FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
        UNION ALL SELECT tbl_name, name, sql FROM sqlite_master
            WHERE type = 'index' AND sql IS NOT NULL
    """,
    "postgresql": """
        SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT table_name, column_name,
            concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default)
            FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
}


def described(engine: Engine) -> set[tuple[str, ...]]:
    """Tables, columns, indices and constraints in the database's own words."""
    with engine.connect() as connection:
        rows = connection.execute(text(IN_WORDS[engine.dialect.name])).all()
    return {tuple(row) for row in rows if row[0] != "alembic_version"}


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'wsi.sqlite3'}")
    yield engine
    engine.dispose()


def test_upgraded_sqlite_has_the_tables_of_the_code(sqlite: Engine, tmp_path: Path) -> None:
    upgrade(sqlite)
    other = open_database(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    metadata.create_all(other)

    assert described(sqlite) == described(other)
    assert {name for name, *_ in described(sqlite)} == set(metadata.tables)
    other.dispose()


def test_upgraded_postgresql_has_the_tables_of_the_code() -> None:
    engine, other = (open_database(fresh_database(cluster())) for _ in range(2))
    upgrade(engine)
    metadata.create_all(other)

    assert described(engine) == described(other)
    assert {name for name, *_ in described(engine)} == set(metadata.tables)
    engine.dispose()
    other.dispose()


def test_rows_of_an_older_release_are_kept(sqlite: Engine) -> None:
    upgrade(sqlite)
    downgrade(sqlite, "0001")
    old = text(
        "INSERT INTO api_keys (id, tenant, name, sha256, scopes, created_at)"
        " VALUES ('key_1', 'ann', 'laptop', 'ab', '[\"read\"]', 1.0)"
    )
    with sqlite.begin() as connection:
        connection.execute(old)
    upgrade(sqlite)

    with reading(sqlite) as connection:
        row = connection.execute(select(api_keys)).one()
    assert (row.id, row.scopes, row.quota_bytes) == ("key_1", ["read"], None)


def test_a_downgrade_leaves_nothing_and_can_be_taken_back(sqlite: Engine) -> None:
    upgrade(sqlite)
    before = described(sqlite)
    downgrade(sqlite, "base")

    assert described(sqlite) == set()
    upgrade(sqlite)
    assert described(sqlite) == before


def test_an_upgrade_keeps_what_is_there(sqlite: Engine) -> None:
    upgrade(sqlite)
    with sqlite.begin() as connection:
        connection.execute(insert(workers).values(BEAT))
    upgrade(sqlite)

    with reading(sqlite) as connection:
        assert connection.execute(select(workers.c.id)).scalars().all() == ["w1"]


def upgrade_in_a_process(url: str) -> list[str]:
    engine = open_database(url)
    upgrade(engine)
    return inspect(engine).get_table_names()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_start_together_upgrade_once(kind: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    if kind == "postgresql":
        url = fresh_database(cluster())
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        seen = pool.map(upgrade_in_a_process, [url] * 3, chunksize=1)

    assert [set(tables) - {"alembic_version"} for tables in seen] == [set(metadata.tables)] * 3


def test_a_new_file_that_another_process_writes_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.close)
    done.start()
    engine = open_database(f"sqlite:///{file}")
    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"

    done.join()
    engine.dispose()


def test_a_new_file_that_stays_locked_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.database.BUSY_S", 0.1)
    file = tmp_path / "new.sqlite3"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    engine = open_database(f"sqlite:///{file}")
    with pytest.raises(OperationalError, match="locked"), reading(engine):
        pass

    engine.dispose()
    other.close()


def test_a_file_that_is_no_database_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.database.BUSY_LOOK_S", None)  # cannot be slept for
    file = tmp_path / "new.sqlite3"
    file.write_bytes(b"not a database, and longer than the header of one: " * 20)
    engine = open_database(f"sqlite:///{file}")
    with pytest.raises(DatabaseError, match="not a database"), reading(engine):
        pass

    engine.dispose()


def test_a_database_of_a_newer_release_is_left_alone(sqlite: Engine) -> None:
    upgrade(sqlite)
    with sqlite.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(InvalidRequest, match=r"another release.*9999"):
        upgrade(sqlite)


def test_sqlite_commits_are_on_disk_and_references_hold(sqlite: Engine) -> None:
    upgrade(sqlite)
    with sqlite.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    full = 2

    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
    with pytest.raises(IntegrityError), sqlite.begin() as connection:
        connection.execute(insert(idempotency_keys).values(tenant="a", key="k", job_id="none"))


def test_transactions_that_look_and_then_write_wait_for_each_other(sqlite: Engine) -> None:
    upgrade(sqlite)
    with sqlite.begin() as connection:
        connection.execute(insert(workers).values(BEAT))

    def count_up() -> None:
        for _ in range(10):
            with sqlite.begin() as connection:
                seen = connection.execute(select(workers.c.seen_at)).scalar_one()
                connection.execute(update(workers).values(seen_at=seen + 1))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with reading(sqlite) as connection:
        assert connection.execute(select(workers.c.seen_at)).scalar_one() == 40


def test_readers_wait_for_no_writer_and_see_one_state(sqlite: Engine) -> None:
    upgrade(sqlite)
    count = select(func.count()).select_from(workers)
    with reading(sqlite) as reader:
        assert reader.execute(count).scalar_one() == 0
        with sqlite.begin() as writer:
            writer.execute(insert(workers).values(BEAT))
            with reading(sqlite) as other:
                assert other.execute(count).scalar_one() == 0
        assert reader.execute(count).scalar_one() == 0
    with reading(sqlite) as reader:
        assert reader.execute(count).scalar_one() == 1


def test_a_write_that_fails_leaves_nothing(sqlite: Engine) -> None:
    upgrade(sqlite)

    def write_and_fail() -> None:
        with sqlite.begin() as connection:
            connection.execute(insert(workers).values(BEAT))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with reading(sqlite) as connection:
        assert connection.execute(select(workers)).all() == []


def test_postgresql_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(InvalidRequest, match=r"pip install wsi-heatmap\[postgresql\]"):
        open_database("postgresql://localhost/wsi")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("wsi.sqlite3", "cannot be read"),
        ("mysql://root:secret@localhost/wsi", "mysql: no database of this program"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
    ],
)
def test_other_urls_are_refused_with_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as refusal:
        open_database(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_takes_one_driver(scheme: str) -> None:
    pytest.importorskip("psycopg")
    engine = open_database(f"{scheme}://ann:secret@db/wsi")

    assert engine.driver == "psycopg"
    assert engine.url.host == "db"
