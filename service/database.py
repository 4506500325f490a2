"""The tables, and how to reach them: SQLite in a folder, or PostgreSQL.

`service/migrations/` brings a database from one release's tables to the next one's.
Times are Unix seconds, UTC.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

__all__ = ["api_keys", "batch_jobs", "batches", "jobs", "metadata", "results", "slides", "workers"]

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
    Column("facts", JSON),  # size0, mpp … once a reader has opened it
    Column("created_at", Float, nullable=False),
    UniqueConstraint("tenant", "sha256"),
)

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
    Column("idempotency_key", String(200)),
    Column("result_id", String(30), nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(32)),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("worker", String(100)),
    Column("lease_until", Float),
    Column("not_before", Float, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", JSON),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("tenant", "idempotency_key"),
    Index(None, "state", "priority", "id"),
    Index(None, "tenant", "work_key", "state"),
    Index(None, "tenant", "batch_id", "id"),
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
    Index(
        "uq_results_tenant_work_key_live",
        "tenant",
        "work_key",
        unique=True,
        sqlite_where=Column("deleted_at", Float).is_(None),
        postgresql_where=Column("deleted_at", Float).is_(None),
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
    Column("slide_id", String(30), nullable=False),
    Column("job_id", String(30), nullable=False),
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
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("seen_at", Float, nullable=False),
    Column("facts", JSON, nullable=False),
)
