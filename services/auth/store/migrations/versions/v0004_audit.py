"""The audit: a chain of records that nobody may change."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

REFUSAL = "audit records are never changed, and deleted only once their time is over"


def upgrade() -> None:
    """Make the tables, the chain's beginning, and the triggers that protect it."""
    _make_chain()
    _make_records()
    if op.get_bind().dialect.name == "postgresql":
        _protect_postgresql()
    else:
        _protect_sqlite()


def downgrade() -> None:
    """Drop it all, the records too."""
    op.drop_table("audit_records")
    op.drop_table("audit_chain")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuse_change")


def _make_chain() -> None:
    chain = op.create_table(
        "audit_chain",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chain_id", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("pruned_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_chain")),
    )
    first = {"id": 1, "chain_id": secrets.token_hex(16), "sequence": 0, "hash": b"", "pruned_sequence": 0}
    op.bulk_insert(chain, [first])


def _make_records() -> None:
    op.create_table(
        "audit_records",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.String(length=26), nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=256), nullable=False),
        sa.Column("decision", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_records")),
        sa.UniqueConstraint("event_id", name=op.f("uq_audit_records_event_id")),
    )
    for columns in (
        ["event_time"],
        ["request_id"],
        ["tenant_id", "sequence"],
        ["user_id", "sequence"],
        ["key_id", "sequence"],
    ):
        op.create_index(op.f(f"ix_audit_records_{'_'.join(columns)}"), "audit_records", columns)


def _protect_sqlite() -> None:
    """SQLite runs a trigger for each row; it has no TRUNCATE."""
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER audit_records_update BEFORE UPDATE ON audit_records {refuse}")
    kept = "WHEN OLD.sequence > (SELECT pruned_sequence FROM audit_chain)"
    op.execute(f"CREATE TRIGGER audit_records_delete BEFORE DELETE ON audit_records {kept} {refuse}")
    op.execute(f"CREATE TRIGGER audit_chain_delete BEFORE DELETE ON audit_chain {refuse}")


def _protect_postgresql() -> None:
    """One function for all triggers; TRUNCATE has one of its own."""
    op.execute(
        "CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_records' THEN "
        "IF OLD.sequence <= (SELECT pruned_sequence FROM audit_chain) THEN RETURN OLD; END IF; END IF; "
        "RAISE EXCEPTION 'audit records are never changed, and deleted only once their time is over'; END $$"
    )
    for table, event, level in (
        ("audit_records", "UPDATE OR DELETE", "ROW"),
        ("audit_records", "TRUNCATE", "STATEMENT"),
        ("audit_chain", "DELETE", "ROW"),
        ("audit_chain", "TRUNCATE", "STATEMENT"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_{level.lower()} BEFORE {event} ON {table} "
            f"FOR EACH {level} EXECUTE FUNCTION audit_refuse_change()"
        )
