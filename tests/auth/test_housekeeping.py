"""The chores beside the calls."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from sqlalchemy import func, select

from services.auth.housekeeping import Housekeeping
from services.auth.last_use import LastUse
from services.auth.signing_keys import SigningKeys
from services.auth.store.models import Record
from tests.auth.conftest import Auth

TABLES = ("sessions", "refresh_tokens", "served_requests", "login_attempts", "api_keys", "users")


async def rows(auth: Auth) -> dict[str, int]:
    async with auth.database.reading() as session:
        counts = {name: select(func.count()).select_from(Record.metadata.tables[name]) for name in TABLES}
        return {name: await session.scalar(query) or 0 for name, query in counts.items()}


async def test_what_is_over_is_forgotten_and_nothing_else(auth: Auth, tmp_path: Path) -> None:
    await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    await auth.create_key(tokens.access_token, request_id=str(uuid.uuid4()))
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.login("nobody", "wrong")
    keys = SigningKeys(tmp_path / "ring", auth.clock, timedelta(minutes=15))
    uses = LastUse(auth.database, auth.clock)
    housekeeping = Housekeeping(auth.database, uses, keys, auth.clock, timedelta(days=30))
    before = await rows(auth)
    await housekeeping.tidy()
    assert await rows(auth) == before
    assert all(before.values())
    auth.clock.advance(days=2)
    await housekeeping.tidy()
    assert await rows(auth) == {**before, "served_requests": 0, "login_attempts": 0}
    auth.clock.advance(days=29)
    await housekeeping.tidy()
    assert {name for name, count in (await rows(auth)).items() if count} == {"api_keys", "users"}
    assert len(keys.published()) == 2
