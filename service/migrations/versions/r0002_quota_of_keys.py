"""A quota for each API key: what came with it, and what it asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWNED = ("slides", "jobs", "results")


def upgrade() -> None:
    for table in OWNED:
        op.add_column(table, sa.Column("key_id", sa.String(30)))
    op.add_column("api_keys", sa.Column("quota_bytes", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("api_keys", "quota_bytes")
    for table in OWNED:
        op.drop_column(table, "key_id")
