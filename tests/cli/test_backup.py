"""A backup is a home: whole as of one moment, also of a database that is written meanwhile."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Run

SECRET = 0o600


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(SECRET)


@pytest.fixture
def used(alone: Run, home: Path) -> Iterator[Path]:
    """A home whose databases are open, with rows that are in their journals alone."""
    assert alone("certs", "init").exit_code == 0
    write(home / "auth" / "signing-keys" / "key", "sesame")
    write(home / "workspaces" / "acme" / "ada" / "auth.db", "a file of hers")
    write(home / "logs" / "auth.log", "{}")
    (home / "workspaces" / "acme" / "ada" / "elsewhere").symlink_to("/etc")
    os.mkfifo(home / "workspaces" / "acme" / "ada" / "pipe")
    (home / "inference").mkdir()
    with (
        closing(sqlite3.connect(home / "auth" / "auth.db")) as auth,
        closing(sqlite3.connect(home / "inference" / "conversations.db")) as conversations,
    ):
        for database in (auth, conversations):
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE rows (name TEXT)")
            database.execute("INSERT INTO rows VALUES ('ada')")
            database.commit()
            database.execute("INSERT INTO rows VALUES ('not yet')")
        yield home


def rows(database: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(database)) as copy:
        return copy.execute("SELECT name FROM rows").fetchall()


def test_what_must_be_kept_is_copied_while_it_is_written(alone: Run, used: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    result = alone("backup", str(copy))
    assert result.exit_code == 0, result.stderr
    assert rows(copy / "auth" / "auth.db") == rows(copy / "inference" / "conversations.db") == [("ada",)]
    assert {path.name for path in copy.iterdir()} == {"auth", "certificates", "inference", "workspaces"}
    assert (copy / "auth" / "signing-keys" / "key").read_text() == "sesame"
    ada = copy / "workspaces" / "acme" / "ada"
    assert {path.name for path in ada.iterdir()} == {"auth.db", "elsewhere"}
    assert (ada / "elsewhere").is_symlink()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert {
        stat.S_IMODE((copy / "auth" / name).stat().st_mode) for name in ("auth.db", "signing-keys/key")
    } == {SECRET}


def test_a_copy_is_a_home(alone: Run, used: Path, tmp_path: Path) -> None:
    assert alone("backup", str(tmp_path / "backup")).exit_code == 0
    result = alone("certs", "init", PARLEY_HOME=str(tmp_path / "backup"))
    assert "Nothing to issue" in result.stdout


def test_a_copy_that_fails_leaves_nothing(alone: Run, used: Path, tmp_path: Path) -> None:
    for file in (used / "inference").iterdir():
        file.unlink()
    write(used / "inference" / "conversations.db", "no database" * 100)
    result = alone("backup", str(tmp_path / "backup"))
    assert result.exit_code == 5
    assert "file is not a database" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [used.name]


def test_what_could_be_no_whole_backup_is_refused(alone: Run, used: Path, tmp_path: Path) -> None:
    there = alone("backup", str(tmp_path))
    none = alone("backup", str(tmp_path / "backup"), PARLEY_HOME=str(tmp_path / "nowhere"))
    elsewhere = alone(
        "backup", str(tmp_path / "backup"), PARLEY_AUTH_DATABASE_URL="postgresql+asyncpg://db/p"
    )
    assert [result.exit_code for result in (there, none, elsewhere)] == [5, 5, 5]
    assert "exists" in there.stderr
    assert "No stack was ever started" in none.stderr
    assert "PARLEY_AUTH_DATABASE_URL" in elsewhere.stderr
