"""The schema of the auth service's database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL

from services.auth.errors import StartError
from services.sql.schema import HEAD, Schema, SchemaError
from services.sql.schema import migrate as migrate_schema

SCHEMA = Schema(Path(__file__).parent / "migrations", "alembic_version")


async def migrate(url: URL, target: str = HEAD) -> None:
    """Bring the schema to a revision; see `services.sql.schema.migrate`.

    Raises:
        StartError: The database does not answer, or was written by a newer program.
    """
    try:
        await migrate_schema(SCHEMA, url, target)
    except SchemaError as error:
        raise StartError(str(error)) from error
