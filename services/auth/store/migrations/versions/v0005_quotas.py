"""Quotas of users, keys, roles, models and tenants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FIGURES = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_streams",
    "tokens_per_day",
    "tokens_per_month",
    "cost_micros_per_day",
    "cost_micros_per_month",
    "prompt_nanos",
    "completion_nanos",
)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "quotas",
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        *(sa.Column(figure, sa.BigInteger(), nullable=True) for figure in FIGURES),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_quotas_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "name", name=op.f("pk_quotas")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("quotas")
