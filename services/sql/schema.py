"""Brings a database's schema to the revision that a program knows, forward or back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import SQLAlchemyError

from services.sql.database import open_engine

HEAD = "head"
NONE = "base"
# Any number will do, as long as every replica takes the same lock.
ADVISORY_LOCK = 0x7061726C6579


class SchemaError(Exception):
    """A database cannot be used by this program; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A service's tables.

    Attributes:
        migrations: The folder of Alembic's `env.py` and `versions`.
        version_table: Where the database notes the revision. Services may share
            a database; each has a table of its own.
    """

    migrations: Path
    version_table: str


async def migrate(schema: Schema, url: URL, target: str = HEAD) -> None:
    """Bring the schema to a revision, all steps in one transaction.

    Replicas that start together wait for each other.

    Args:
        schema: The tables.
        url: As `services.sql.database.parse_url` gives it.
        target: A revision, `HEAD` or `NONE`.

    Raises:
        SchemaError: The database does not answer, or was written by a newer program.
    """
    engine = open_engine(url, foreign_keys=False)
    try:
        async with engine.execution_options(writes=True).begin() as connection:
            await connection.run_sync(_migrate, schema, target)
    except (SQLAlchemyError, OSError) as error:
        raise SchemaError(
            f"the database at {url.render_as_string()} cannot be used: {_first_line(error)}"
        ) from error
    finally:
        await engine.dispose()


def _migrate(connection: Connection, schema: Schema, target: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    config = Config()
    config.set_main_option("script_location", str(schema.migrations))
    config.attributes.update(connection=connection, version_table=schema.version_table)
    scripts = ScriptDirectory.from_config(config)
    noted = {"version_table": schema.version_table}
    present = MigrationContext.configure(connection, opts=noted).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if present is not None and present not in known:
        raise SchemaError(
            f"the database's schema is at revision {present}, which this program does not know: "
            "it was written by a newer Parley, so start that one"
        )
    if target not in (HEAD, NONE, *known):
        raise SchemaError(f"there is no revision {target}: choose one of {', '.join((HEAD, NONE, *known))}")
    if _is_back(known, present, target):
        command.downgrade(config, target)
    else:
        command.upgrade(config, target)


def _is_back(known: list[str], present: str | None, target: str) -> bool:
    """Whether the target lies before the present revision; `known` is newest first."""
    if present is None or target == HEAD:
        return False
    return target == NONE or known.index(target) > known.index(present)


def _first_line(error: BaseException) -> str:
    """What the driver said, without SQLAlchemy's framing."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).splitlines() or [type(cause).__name__])[0]
