"""The first start on an empty database."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from services.auth.errors import StartError
from services.auth.first_start import make_first_admin
from services.auth.passwords import Passwords
from services.auth.store.models import User
from services.sql.database import Database
from tests.auth.conftest import FakeClock, add_user


def password_file(data_path: Path) -> Path:
    return data_path / "admin-password"


async def users(database: Database) -> list[User]:
    async with database.reading() as session:
        found = await session.scalars(select(User).options(joinedload(User.tenant), joinedload(User.roles)))
        return list(found.unique())


async def test_the_password_in_the_file_is_the_admins(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    await make_first_admin(database, passwords, tmp_path, clock)
    path = tmp_path / "admin-password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (admin,) = await users(database)
    assert (admin.username, admin.role_names(), admin.tenant.name) == ("admin", ("admin",), "default")
    assert await passwords.verify(admin.password_hash, path.read_text().strip())
    assert len(path.read_text().strip()) == 24


async def test_a_second_start_changes_nothing(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    await make_first_admin(database, passwords, tmp_path, clock)
    before = (tmp_path / "admin-password").read_text()
    await make_first_admin(database, passwords, tmp_path, clock)
    assert (tmp_path / "admin-password").read_text() == before
    assert len(await users(database)) == 1


async def test_where_there_are_users_no_admin_is_made(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    await add_user(database, passwords, "ada", "user")
    await make_first_admin(database, passwords, tmp_path, clock)
    assert [user.username for user in await users(database)] == ["ada"]
    assert not password_file(tmp_path).exists()


async def test_a_file_left_by_a_crash_is_replaced(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "admin-password").write_text("of nobody\n")
    await make_first_admin(database, passwords, tmp_path, clock)
    (admin,) = await users(database)
    assert await passwords.verify(admin.password_hash, (tmp_path / "admin-password").read_text().strip())


async def test_without_the_file_there_is_no_admin(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    with pytest.raises(StartError, match="admin-password cannot be written"):
        await make_first_admin(database, passwords, tmp_path / "missing", clock)
    assert await users(database) == []


async def test_of_replicas_that_start_together_one_makes_the_admin(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    await asyncio.gather(*(make_first_admin(database, passwords, tmp_path, clock) for _ in range(4)))
    (admin,) = await users(database)
    assert await passwords.verify(admin.password_hash, (tmp_path / "admin-password").read_text().strip())
