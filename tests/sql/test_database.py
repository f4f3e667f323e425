"""URLs of databases, and how SQLite is opened."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from services.sql.database import Database, parse_url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "not a database URL"),
        ("mysql://parley:sesame@host/db", "begins with"),
        ("sqlite:///auth.db", "begins with"),
        ("sqlite+aiosqlite://", "names no database"),
        ("postgresql+asyncpg://parley:sesame@host", "names no database"),
        ("postgresql+asyncpg://parley:sesame@host:port/db", "not a database URL"),
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_url(url)
    assert "sesame" not in str(caught.value)


async def test_sqlite_runs_with_the_pragmas_we_rely_on(tmp_path: object) -> None:
    database = Database(parse_url(f"sqlite+aiosqlite:///{tmp_path}/auth.db"))
    async with database.reading() as session:
        values = [
            await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        ]
    await database.close()
    assert values == ["wal", 1, 5000, 2]
