"""Copies a SQLite database while it is in use. PostgreSQL has pg_dump for that.

Usage: python -m services.auth.store.backup FILE TARGET [FILE TARGET]...
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from services.auth.errors import StartError
from services.auth.private_files import write_new
from services.sql.database import SQLITE

PAGES = 1024
PAUSE_SECONDS = 0.01


def main(arguments: Sequence[str]) -> int:
    """Copy each file to the target after it, and return the exit status."""
    try:
        for source, target in zip(arguments[::2], arguments[1::2], strict=True):
            back_up(URL.create(SQLITE, database=source), Path(target))
    except (StartError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def back_up(url: URL, target: Path) -> None:
    """Write a copy that is whole as of one moment (SQLite's online backup API).

    Writers go on meanwhile: the copy begins again where they got in between.

    Args:
        url: As `services.sql.database.parse_url` gives it.
        target: A file that does not exist yet; readable by its owner alone.

    Raises:
        StartError: The copy cannot be written, or the database is no SQLite.
    """
    if url.drivername != SQLITE or not url.database:
        raise StartError("only SQLite is backed up so: use pg_dump for PostgreSQL (docs/guide/backup.md)")
    if not Path(url.database).is_file():
        raise StartError(f"there is no database {url.database}")
    try:
        write_new(target, b"")
        with closing(sqlite3.connect(url.database)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=PAGES, sleep=PAUSE_SECONDS)
            _check(copy)
    except (OSError, sqlite3.Error) as error:
        raise StartError(f"the database cannot be copied to {target}: {error}") from error
    _settle(target)


def _check(copy: sqlite3.Connection) -> None:
    """Refuse a copy that is not sound.

    Raises:
        sqlite3.DatabaseError: It is not.
    """
    copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a journal beside it
    (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _settle(target: Path) -> None:
    """Have the copy on the disk before anyone is told that it is there."""
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
