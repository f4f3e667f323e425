"""Usage: the records that were counted, and what they add up to by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

AMOUNTS = (
    "requests",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "tool_calls",
    "cost_micros",
)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "usage_records",
        sa.Column("record_id", sa.String(length=26), nullable=False),
        *_whose(),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_usage_records")),
    )
    op.create_index(op.f("ix_usage_records_end_time"), "usage_records", ["end_time"])
    op.create_table(
        "usage_days",
        *_whose(),
        sa.Column("day", sa.Date(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("tenant_id", "day", "user_id", "key_id", "model", name=op.f("pk_usage_days")),
    )
    op.create_index(
        op.f("ix_usage_days_tenant_id_user_id_day"), "usage_days", ["tenant_id", "user_id", "day"]
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("usage_days")
    op.drop_table("usage_records")


def _whose() -> list[sa.Column[str]]:
    lengths = {"tenant_id": 26, "user_id": 26, "key_id": 26, "model": 256}
    return [sa.Column(name, sa.String(length=length), nullable=False) for name, length in lengths.items()]


def _amounts() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in AMOUNTS]
