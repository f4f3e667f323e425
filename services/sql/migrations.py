"""What every `env.py` of Alembic does here: run migrations on the connection that it is handed."""

from __future__ import annotations

from alembic import context
from sqlalchemy import MetaData


def run_migrations(metadata: MetaData) -> None:
    """Run them in the transaction that `services.sql.schema.migrate` began."""
    given = context.config.attributes
    context.configure(
        connection=given["connection"],
        version_table=given["version_table"],
        target_metadata=metadata,
        # SQLite cannot alter most things: its tables are rebuilt.
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
