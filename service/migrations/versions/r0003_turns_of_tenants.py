"""Tenants take turns: what finds whose turn it is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LEASED = sa.text("lease_until IS NOT NULL")
AFTER_TENANT: list[str | sa.TextClause] = [sa.text("priority DESC"), "id", "not_before"]


def upgrade() -> None:
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index("ix_jobs_claim", "jobs", ["state", "tenant", *AFTER_TENANT])
    op.create_index("ix_jobs_tenant_started_at", "jobs", ["tenant", "started_at"])
    op.create_index(
        "ix_jobs_tenant_lease_until",
        "jobs",
        ["tenant", "lease_until"],
        sqlite_where=LEASED,
        postgresql_where=LEASED,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_tenant_lease_until", "jobs")
    op.drop_index("ix_jobs_tenant_started_at", "jobs")
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index("ix_jobs_claim", "jobs", ["state", *AFTER_TENANT])
