"""The tables, and how to reach them: SQLite in a folder, or PostgreSQL.

`service/migrations/` brings a database from one release's tables to the next one's.
Times are Unix seconds, UTC.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError

from service.errors import InvalidRequest
from service.postgresql import lift_limits, open_postgresql

__all__ = [
    "api_keys",
    "batch_jobs",
    "batches",
    "downgrade",
    "idempotency_keys",
    "jobs",
    "metadata",
    "open_database",
    "reading",
    "results",
    "slides",
    "upgrade",
    "workers",
]

BUSY_S = 30  # how long a statement waits for SQLite's lock
BUSY_LOOK_S = 0.02  # how often it is tried where SQLite itself does not wait
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x777369_6D  # of PostgreSQL's advisory locks: "wsi", migration
READING = "wsi_reading"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

slides = Table(
    "slides",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("tenant", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the bytes that came
    Column("size_bytes", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),  # file, archive, path
    Column("place", String(1000), nullable=False),  # relative to the data folder, or a path
    Column("facts", JSON(none_as_null=True)),  # size0, mpp … once a reader has opened it
    Column("created_at", Float, nullable=False),
    Column("key_id", String(30)),  # of the API key that it came with: whose quota it counts to
    Column("renewed_at", Float),  # when the same bytes came again, the last time
    UniqueConstraint("tenant", "sha256"),
    Index(None, "tenant", "id"),
)

LIVE = "state IN ('queued', 'running') AND NOT cancel_requested"

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("tenant", String(200), nullable=False),
    Column("slide_id", String(30), nullable=False),
    Column("work_key", String(64), nullable=False),
    Column("request", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("batch_id", String(30)),
    Column("result_id", String(30), nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(32)),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("worker", String(100)),
    Column("lease_until", Float),  # NULL unless it runs
    Column("not_before", Float, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("updated_at", Float, nullable=False),
    Column("key_id", String(30)),  # of the API key that asked first
    # the order of claims in a tenant; with not_before it answers `position` without the table
    Index("ix_jobs_claim", "state", "tenant", text("priority DESC"), "id", "not_before"),
    Index(None, "tenant", "started_at"),  # who was served last
    Index(
        "ix_jobs_lease_until",  # of those that run, and no others
        "lease_until",
        sqlite_where=text("lease_until IS NOT NULL"),
        postgresql_where=text("lease_until IS NOT NULL"),
    ),
    Index(
        "ix_jobs_tenant_lease_until",  # likewise: how many of a tenant's run
        "tenant",
        "lease_until",
        sqlite_where=text("lease_until IS NOT NULL"),
        postgresql_where=text("lease_until IS NOT NULL"),
    ),
    Index(None, "tenant", "state", "id"),
    Index(None, "tenant", "batch_id", "id"),
    Index(None, "tenant", "id"),
    Index(
        "uq_jobs_tenant_work_key_live",  # equal work is under way once
        "tenant",
        "work_key",
        unique=True,
        sqlite_where=text(LIVE),
        postgresql_where=text(LIVE),
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
)

results = Table(
    "results",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("tenant", String(200), nullable=False),
    Column("job_id", String(30), nullable=False),
    Column("slide_id", String(30), nullable=False),
    Column("work_key", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("deleted_at", Float),  # the row stays for a while, so that 410 can be told from 404
    Column("key_id", String(30)),  # of its job
    Index(None, "tenant", "id"),
    Index(
        "uq_results_tenant_work_key_live",
        "tenant",
        "work_key",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("tenant", String(200), nullable=False),
    Column("idempotency_key", String(200)),
    Column("request_sha256", String(64), nullable=False),  # the same key with another: a mismatch
    Column("created_at", Float, nullable=False),
    UniqueConstraint("tenant", "idempotency_key"),
)

# Which jobs stand for a batch: equal work that was under way already is a job of an earlier batch.
batch_jobs = Table(
    "batch_jobs",
    metadata,
    Column("batch_id", String(30), primary_key=True),
    Column("number", Integer, primary_key=True),  # 0-based, in the order of the request
    Column("name", String(1000)),  # below a shared folder, as the client's pattern found it
    Column("slide_id", String(30)),
    Column("job_id", String(30)),
    Column("error", JSON),  # a problem, where there is no job
    Index(None, "job_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("tenant", String(200), nullable=False),
    Column("name", String(200), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),  # of the key, 256 random bits
    Column("scopes", JSON, nullable=False),  # read, write
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("quota_bytes", BigInteger),  # NULL: only its tenant's limit
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("seen_at", Float, nullable=False),
    Column("facts", JSON, nullable=False),
)


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///…` or `postgresql://…`; its tables come by `upgrade`.

    Write in `with engine.begin()`, read in `with reading(engine)`. A transaction on SQLite takes
    the write lock at its start (BEGIN IMMEDIATE) and waits up to 30 s for it: one that began as a
    reader and wanted to write later would fail at once where another had written in between.
    Commits are on disk when they return (`synchronous=FULL`; PostgreSQL's default).
    Raises InvalidRequest: no such database, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(
            "the database's URL cannot be read; use sqlite:///PATH or postgresql://HOST/NAME"
        ) from error
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed)
        case "postgresql" | "postgres":
            return open_postgresql(parsed)
        case other:
            raise InvalidRequest(f"{other}: no database of this program; use sqlite or postgresql")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: on SQLite it sees one state and waits for no writer."""
    with engine.connect() as connection, connection.execution_options(**{READING: True}).begin():
        yield connection


def upgrade(engine: Engine) -> None:
    """Brings the tables to this release's. Several processes may call it at the same time.

    Raises InvalidRequest where the database belongs to a newer release.
    """
    from alembic.util import CommandError

    try:
        _migrate(engine, "upgrade", "head")
    except CommandError as error:
        raise InvalidRequest(
            f"the database is of another release ({error}); start that one, or restore a backup"
        ) from error


def downgrade(engine: Engine, revision: str) -> None:
    """Back to an older release's tables; "base" removes all of them."""
    _migrate(engine, "downgrade", revision)


def _open_sqlite(url: URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise InvalidRequest("SQLite in memory cannot be shared by processes; name a file")
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": BUSY_S},
        pool_size=8,
        max_overflow=56,
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """The change of a new file to WAL needs the whole file, and SQLite fails at once without it.

    It has the file open to read by then, and whoever reads is not made to wait for who writes.
    """
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(BUSY_LOOK_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get(READING) else "BEGIN IMMEDIATE")


_one_migration = threading.Lock()  # Alembic keeps what it works on in module globals


def _migrate(engine: Engine, command: str, revision: str) -> None:
    """One transaction under a lock of the database, so that a second process finds it done."""
    import alembic.command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _one_migration, _exclusive(engine) as connection:
        config.attributes["connection"] = connection
        run: Any = getattr(alembic.command, command)
        run(config, revision)


@contextmanager
def _exclusive(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # a table is altered by copying it and dropping the old one, and a drop cascades;
            # inside a transaction the pragma does nothing
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
            connection.detach()
        with connection.begin():
            if engine.dialect.name == "postgresql":
                lift_limits(connection)
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            yield connection
