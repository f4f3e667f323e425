"""The schema of the rollouts' table."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL

from services.sql.schema import HEAD, Schema
from services.sql.schema import migrate as migrate_schema

# A revision of its own, beside that of the conversations in the same database.
SCHEMA = Schema(Path(__file__).parent / "migrations", "rollouts_alembic_version")


async def migrate(url: URL, target: str = HEAD) -> None:
    """Bring the schema to a revision; see `services.sql.schema.migrate`.

    Raises:
        SchemaError: The database does not answer, or was written by a newer program.
    """
    await migrate_schema(SCHEMA, url, target)
