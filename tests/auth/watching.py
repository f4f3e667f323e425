"""What a piece of work makes the database do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from services.auth.store.models import Record
from services.sql.database import Database


@contextmanager
def watched(database: Database) -> Iterator[list[str]]:
    """What the database is made to do meanwhile: its statements, and a line for each row that is read."""
    done: list[str] = []

    def note_statement(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        done.append(statement)

    def note_row(target: Record, _context: object) -> None:
        done.append(f"a row of {type(target).__name__}")

    event.listen(database.engine.sync_engine, "before_cursor_execute", note_statement)
    event.listen(Record, "load", note_row, propagate=True)
    try:
        yield done
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note_statement)
        event.remove(Record, "load", note_row)
