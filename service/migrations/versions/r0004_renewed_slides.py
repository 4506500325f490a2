"""When the same bytes came again: a slide is kept from then on."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slides", sa.Column("renewed_at", sa.Float))


def downgrade() -> None:
    op.drop_column("slides", "renewed_at")
