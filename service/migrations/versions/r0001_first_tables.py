"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LIVE = sa.text("state IN ('queued', 'running') AND NOT cancel_requested")
LEASED = sa.text("lease_until IS NOT NULL")
NOT_DELETED = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    make_slides()
    make_jobs()
    make_idempotency_keys()
    make_results()
    make_batches()
    make_api_keys()
    make_workers()


def downgrade() -> None:
    for table in (
        "workers",
        "api_keys",
        "batch_jobs",
        "batches",
        "results",
        "idempotency_keys",
        "jobs",
        "slides",
    ):
        op.drop_table(table)


def make_slides() -> None:
    op.create_table(
        "slides",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("place", sa.String(1000), nullable=False),
        sa.Column("facts", sa.JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_slides"),
        sa.UniqueConstraint("tenant", "sha256", name="uq_slides_tenant_sha256"),
    )
    op.create_index("ix_slides_tenant_id", "slides", ["tenant", "id"])


def make_jobs() -> None:
    op.create_table("jobs", *job_columns(), sa.PrimaryKeyConstraint("id", name="pk_jobs"))
    index_jobs()


def job_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("slide_id", sa.String(30), nullable=False),
        sa.Column("work_key", sa.String(64), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("batch_id", sa.String(30)),
        sa.Column("result_id", sa.String(30), nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(32)),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.String(100)),
        sa.Column("lease_until", sa.Float),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("updated_at", sa.Float, nullable=False),
    ]


def index_jobs() -> None:
    op.create_index(
        "ix_jobs_claim", "jobs", ["state", sa.text("priority DESC"), "id", "not_before"]
    )
    op.create_index(
        "ix_jobs_lease_until",
        "jobs",
        ["lease_until"],
        sqlite_where=LEASED,
        postgresql_where=LEASED,
    )
    op.create_index("ix_jobs_tenant_state_id", "jobs", ["tenant", "state", "id"])
    op.create_index("ix_jobs_tenant_batch_id_id", "jobs", ["tenant", "batch_id", "id"])
    op.create_index("ix_jobs_tenant_id", "jobs", ["tenant", "id"])
    op.create_index(
        "uq_jobs_tenant_work_key_live",
        "jobs",
        ["tenant", "work_key"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )


def make_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("job_id", sa.String(30), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_idempotency_keys_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])


def make_results() -> None:
    op.create_table(
        "results",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("job_id", sa.String(30), nullable=False),
        sa.Column("slide_id", sa.String(30), nullable=False),
        sa.Column("work_key", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("deleted_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
    )
    op.create_index("ix_results_tenant_id", "results", ["tenant", "id"])
    op.create_index(
        "uq_results_tenant_work_key_live",
        "results",
        ["tenant", "work_key"],
        unique=True,
        sqlite_where=NOT_DELETED,
        postgresql_where=NOT_DELETED,
    )


def make_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_batches_tenant_idempotency_key"),
    )
    op.create_table(
        "batch_jobs",
        sa.Column("batch_id", sa.String(30), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", sa.String(1000)),
        sa.Column("slide_id", sa.String(30)),
        sa.Column("job_id", sa.String(30)),
        sa.Column("error", sa.JSON),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_jobs"),
    )
    op.create_index("ix_batch_jobs_job_id", "batch_jobs", ["job_id"])


def make_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    )


def make_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(100), nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
