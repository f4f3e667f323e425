"""What changes while a login is under way: the token never has more than what is left."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from services.auth.errors import CredentialsInvalid
from services.auth.passwords import Passwords
from services.auth.sessions import SessionLife, Sessions
from services.auth.signing_keys import SigningKeys
from services.auth.store.users import UserRecords
from services.auth.throttle import LoginThrottle
from services.auth.tokens import AccessTokens
from services.sql.database import Database
from tests.auth.conftest import CHEAP, PASSWORD, FakeClock, add_user

LIFE = timedelta(minutes=15)


class ChangedMeanwhile(Passwords):
    """While it looks at a password, someone changes the user."""

    def __init__(self, database: Database, user_id: str) -> None:
        super().__init__(CHEAP)
        self._database = database
        self._user_id = user_id

    async def verify(self, stored: str | None, password: str) -> bool:
        async with self._database.writing() as session:
            await UserRecords(session).renew([self._user_id])
        return await super().verify(stored, password)


def sessions(database: Database, passwords: Passwords, clock: FakeClock, folder: Path) -> Sessions:
    keys = SigningKeys(folder / "keys", clock, LIFE)
    tokens = AccessTokens(keys, clock, issuer="parley", audience="parley", life=LIFE)
    return Sessions(database, passwords, LoginThrottle(database, clock), tokens, clock, SessionLife())


async def test_a_login_whose_user_changes_under_it_is_refused(
    database: Database, passwords: Passwords, clock: FakeClock, tmp_path: Path
) -> None:
    user = await add_user(database, passwords, "ada", "user")
    changed = ChangedMeanwhile(database, user.user_id)
    with pytest.raises(CredentialsInvalid):
        await sessions(database, changed, clock, tmp_path).login("ada", PASSWORD, "192.0.2.1")
    changed.close()
    again = await sessions(database, passwords, clock, tmp_path).login("ada", PASSWORD, "192.0.2.1")
    assert again.access.text


async def test_a_user_is_held_as_long_as_nothing_changed(database: Database, passwords: Passwords) -> None:
    user = await add_user(database, passwords, "ada", "user")
    async with database.writing() as session:
        assert await UserRecords(session).hold(user)
        await UserRecords(session).renew([user.user_id])
    async with database.writing() as session:
        assert not await UserRecords(session).hold(user)
