"""Runs migrations on the connection that `services.auth.store.schema` hands over."""

from __future__ import annotations

from alembic import context

# Imported to put their tables into the metadata.
from services.auth.store import (  # noqa: F401
    audit_models,
    external_models,
    quota_models,
    revocation_models,
    usage_models,
)
from services.auth.store.models import Record


def run() -> None:
    """Run them in the transaction that the connection is in."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Record.metadata,
        # SQLite cannot alter most things: its tables are rebuilt.
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
