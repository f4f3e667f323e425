"""What is revoked, and when."""

from __future__ import annotations

import grpc
import pytest
from sqlalchemy import select

from services.auth.revocations import revoke
from services.auth.store.database import Database
from services.auth.store.revocation_models import Revocation, RevocationKind
from services.auth.store.revocations import RevocationRecords
from tests.auth.conftest import Auth, FakeClock

SUBJECT = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


async def stored(database: Database) -> list[tuple[str, str]]:
    async with database.reading() as session:
        rows = await session.scalars(select(Revocation).order_by(Revocation.sequence))
        return [(row.kind, row.subject_id) for row in rows]


async def test_a_revoked_key_is_written_once(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    token = (await auth.login("ada")).access_token
    key = (await auth.create_key(token)).key
    await auth.revoke_key(token, key.key_id)
    await auth.revoke_key(token, key.key_id)
    assert await stored(auth.database) == [("KEY", key.key_id)]


async def test_a_reused_refresh_token_revokes_its_session(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    first = await auth.login("ada")
    await auth.refresh(first.refresh_token)
    assert await stored(auth.database) == []
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await auth.refresh(first.refresh_token)
    ((kind, _),) = await stored(auth.database)
    assert kind == "SESSION"


async def test_a_revocation_is_undone_with_its_transaction(database: Database, clock: FakeClock) -> None:
    with pytest.raises(LookupError):
        async with database.writing() as session:
            await revoke(session, kind=RevocationKind.USER, subject_id=SUBJECT, now=clock())
            raise LookupError
    assert await stored(database) == []


async def test_a_pruned_number_is_never_given_again(database: Database, clock: FakeClock) -> None:
    async with database.writing() as session:
        await revoke(session, kind=RevocationKind.USER, subject_id=SUBJECT, now=clock())
        seen = await RevocationRecords(session).last_sequence()
    start = clock()
    clock.advance(hours=1)
    async with database.writing() as session:
        await RevocationRecords(session).prune(clock())
        await revoke(session, kind=RevocationKind.TENANT, subject_id=SUBJECT, now=clock())
        rows = await RevocationRecords(session).after(seen, start, 10)
    assert [row.kind for row in rows] == ["TENANT"]
