"""What changes while a login is under way: the token never has more than what is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Executable, update

from services.auth.errors import CredentialsInvalid
from services.auth.passwords import Passwords
from services.auth.sessions import SessionLife, Sessions
from services.auth.signing_keys import SigningKeys
from services.auth.store.models import Tenant, User
from services.auth.store.users import UserRecords
from services.auth.throttle import LoginThrottle
from services.auth.tokens import AccessTokens
from services.sql.database import Database
from tests.auth.conftest import CHEAP, PASSWORD, FakeClock, add_user

LIFE = timedelta(minutes=15)


class ChangedMeanwhile(Passwords):
    """While it looks at a password, someone changes the user or the tenant."""

    def __init__(self, database: Database, change: Executable) -> None:
        super().__init__(CHEAP)
        self._database = database
        self._change = change

    async def verify(self, stored: str | None, password: str) -> bool:
        async with self._database.writing() as session:
            await session.execute(self._change)
        return await super().verify(stored, password)


def sessions(database: Database, passwords: Passwords, clock: FakeClock, folder: Path) -> Sessions:
    keys = SigningKeys(folder / "keys", clock, LIFE)
    tokens = AccessTokens(keys, clock, issuer="parley", audience="parley", life=LIFE)
    return Sessions(database, passwords, LoginThrottle(database, clock), tokens, clock, SessionLife())


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (update(User).values(version=User.version + 1), None),
        (update(Tenant).values(disable_time=datetime.now(UTC)), update(Tenant).values(disable_time=None)),
    ],
    ids=["the user changed", "the tenant disabled"],
)
async def test_a_login_whose_rights_change_under_it_is_refused(
    database: Database,
    passwords: Passwords,
    clock: FakeClock,
    tmp_path: Path,
    change: Executable,
    back: Executable | None,
) -> None:
    await add_user(database, passwords, "ada", "user")
    changed = ChangedMeanwhile(database, change)
    with pytest.raises(CredentialsInvalid):
        await sessions(database, changed, clock, tmp_path).login("ada", PASSWORD, "192.0.2.1")
    changed.close()
    if back is not None:
        async with database.writing() as session:
            await session.execute(back)
    again = await sessions(database, passwords, clock, tmp_path).login("ada", PASSWORD, "192.0.2.1")
    assert again.access.text


async def test_a_user_is_held_as_long_as_nothing_changed(database: Database, passwords: Passwords) -> None:
    user = await add_user(database, passwords, "ada", "user")
    async with database.writing() as session:
        assert await UserRecords(session).hold(user)
        await UserRecords(session).renew([user.user_id])
    async with database.writing() as session:
        assert not await UserRecords(session).hold(user)
