"""Identity as administrators manage it: the root tenant, kinds of user, roles, origins of keys and logins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of roles; add to the others."""
    _make_roles()
    _add_to_tenants()
    _add_to_users()
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("last_use_time", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("address", sa.String(length=64), nullable=False, server_default=""))
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("allowed_addresses", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("replaces_key_id", sa.String(length=26), nullable=True))
    op.create_index(op.f("ix_api_keys_tenant_id_key_id"), "api_keys", ["tenant_id", "key_id"])
    with op.batch_alter_table("served_requests") as table:
        table.alter_column("resource_id", type_=sa.String(length=64), existing_type=sa.String(length=26))


def downgrade() -> None:
    """Take it away again. Service accounts go: the schema before knows nobody without a password."""
    op.execute("DELETE FROM served_requests WHERE length(resource_id) > 26")
    with op.batch_alter_table("served_requests") as table:
        table.alter_column("resource_id", type_=sa.String(length=26), existing_type=sa.String(length=64))
    op.drop_index(op.f("ix_api_keys_tenant_id_key_id"), "api_keys")
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("replaces_key_id")
        table.drop_column("allowed_addresses")
    with op.batch_alter_table("sessions") as table:
        table.drop_column("address")
        table.drop_column("last_use_time")
    _take_from_users()
    with op.batch_alter_table("tenants") as table:
        table.drop_column("version")
        table.drop_column("root")
    op.drop_table("roles")


def _make_roles() -> None:
    op.create_table(
        "roles",
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=256), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_roles_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_roles")),
    )


def _add_to_tenants() -> None:
    """Only the first start has made a tenant so far, so the oldest is the root."""
    with op.batch_alter_table("tenants") as table:
        table.add_column(sa.Column("root", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.execute("UPDATE tenants SET root = true WHERE tenant_id = (SELECT min(tenant_id) FROM tenants)")


def _add_to_users() -> None:
    with op.batch_alter_table("users") as table:
        table.add_column(sa.Column("display_name", sa.String(length=128), nullable=False, server_default=""))
        table.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="person"))
        table.add_column(sa.Column("password_expire_time", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        table.alter_column("password_hash", nullable=True, existing_type=sa.String(length=255))


def _take_from_users() -> None:
    """Without enforced foreign keys, as on SQLite here, dependents do not follow by themselves."""
    for table in ("served_requests", "api_keys", "user_roles"):
        op.execute(
            f"DELETE FROM {table} WHERE user_id IN (SELECT user_id FROM users WHERE password_hash IS NULL)"  # noqa: S608 # nosec B608
        )
    op.execute("DELETE FROM users WHERE password_hash IS NULL")
    with op.batch_alter_table("users") as users:
        users.alter_column("password_hash", nullable=False, existing_type=sa.String(length=255))
        for column in ("version", "password_expire_time", "kind", "display_name"):
            users.drop_column(column)
