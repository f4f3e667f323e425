"""What is revoked, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from sqlalchemy import select
from ulid import ULID

from parley.auth.v1 import revocation_service_pb2 as pb2
from parley.auth.v1 import session_service_pb2
from parley.auth.v1.revocation_service_pb2_grpc import RevocationServiceStub
from services.auth.__main__ import serving
from services.auth.passwords import Passwords
from services.auth.revocations import revoke
from services.auth.settings import AuthSettings
from services.auth.store.models import LoginSession
from services.auth.store.revocation_models import Revocation, RevocationKind
from services.auth.store.revocations import RevocationRecords
from services.auth.store.sessions import SessionRecords
from services.rpc.channel import open_channel
from services.rpc.errors import error_info, status_of
from services.rpc.tls import TlsFiles
from services.sql.database import Database
from tests.auth.conftest import CHEAP, PATIENCE, Auth, FakeClock, add_user, bearer, reason, token_of
from tests.auth.watching import watched

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
    async def fail() -> None:
        async with database.writing() as session:
            await revoke(session, kind=RevocationKind.USER, subject_ids=[SUBJECT], now=clock())
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await stored(database) == []


async def statements_of_ending(database: Database, clock: FakeClock, sessions: int) -> int:
    """How many statements it takes to end so many sessions of a user."""
    passwords = Passwords(CHEAP)
    user = await add_user(database, passwords, f"user-of-{sessions}", "user")
    passwords.close()
    lasting = {"create_time": clock(), "expire_time": clock() + timedelta(days=1)}
    async with database.writing() as session:
        for _ in range(sessions):
            whose = {"tenant_id": user.tenant_id, "user_id": user.user_id}
            session.add(LoginSession(session_id=str(ULID()), **whose, **lasting))
    with watched(database) as done:
        async with database.writing() as session:
            assert await SessionRecords(session).end_all(user.tenant_id, user.user_id, clock()) == sessions
    return len([line for line in done if not line.startswith("a row of")])


async def test_many_are_ended_by_as_few_statements_as_one(database: Database, clock: FakeClock) -> None:
    """All other revocations wait for it, and have a second."""
    one, many = [await statements_of_ending(database, clock, number) for number in (1, 40)]
    assert one == many
    assert len(await stored(database)) == 41


async def test_a_pruned_number_is_never_given_again(database: Database, clock: FakeClock) -> None:
    async with database.writing() as session:
        await revoke(session, kind=RevocationKind.USER, subject_ids=[SUBJECT], now=clock())
        seen = await RevocationRecords(session).last_sequence()
    start = clock()
    clock.advance(hours=1)
    async with database.writing() as session:
        await RevocationRecords(session).prune(clock())
        await revoke(session, kind=RevocationKind.TENANT, subject_ids=[SUBJECT], now=clock())
        rows = await RevocationRecords(session).after(seen, start, 10)
    assert [row.kind for row in rows] == ["TENANT"]


async def events(call: Any) -> AsyncIterator[str]:
    """What a feed says, without its heartbeats."""
    while (response := await call.read()) is not grpc.aio.EOF:
        match response.WhichOneof("event"):
            case "revocation":
                kind = pb2.RevocationKind.Name(response.revocation.kind).removeprefix("REVOCATION_KIND_")
                yield f"{kind} {response.revocation.subject_id}"
            case "synchronized":
                yield "synchronized"


async def write(auth: Auth, kind: RevocationKind, subject_id: str) -> None:
    """Revoke something as another replica would: through the database alone."""
    async with auth.database.writing() as session:
        await revoke(session, kind=kind, subject_ids=[subject_id], now=auth.clock())


def watch(auth: Auth, peer: str) -> Any:
    return RevocationServiceStub(auth.connect(peer)).WatchRevocations(
        pb2.WatchRevocationsRequest(), timeout=60
    )


@pytest.mark.parametrize("peer", ["inference", "tools", "operator"])
async def test_a_watcher_learns_what_was_and_what_comes(auth: Auth, peer: str) -> None:
    await write(auth, RevocationKind.USER, SUBJECT)
    feed = events(watch(auth, peer))
    assert [await anext(feed), await anext(feed)] == [f"USER {SUBJECT}", "synchronized"]
    for kind in RevocationKind:
        subject_id = str(ULID())
        async with asyncio.timeout(PATIENCE):
            await write(auth, kind, subject_id)
            assert await anext(feed) == f"{kind} {subject_id}"


async def test_nobody_outside_the_mesh_may_watch(auth: Auth) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(events(watch(auth, "edge")))
    assert reason(caught) == "PEER_NOT_ALLOWED"


async def test_a_watcher_that_has_nothing_to_learn_hears_a_heartbeat(auth: Auth) -> None:
    call = watch(auth, "tools")
    said = [(await call.read()).WhichOneof("event") for _ in range(3)]
    assert said == ["synchronized", "heartbeat", "heartbeat"]


async def test_what_matters_no_longer_is_not_told(auth: Auth) -> None:
    await write(auth, RevocationKind.KEY, SUBJECT)
    auth.clock.advance(hours=2)
    assert await anext(events(watch(auth, "tools"))) == "synchronized"


async def test_auth_itself_refuses_the_tokens_of_a_revoked_key(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    login = (await auth.login("ada")).access_token
    made = await auth.create_key(login)
    token = token_of(await auth.check(made.secret))
    assert (await auth.who(token)).key_id == made.key.key_id
    await auth.revoke_key(login, made.key.key_id)
    async with asyncio.timeout(PATIENCE):
        assert await until_refused(auth, token) == "TOKEN_REVOKED"
    assert (await auth.who(login)).username == "ada"


async def test_a_thief_loses_the_access_token_with_the_session(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    first = await auth.login("ada")
    second = await auth.refresh(first.refresh_token)
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.refresh(first.refresh_token)
    async with asyncio.timeout(PATIENCE):
        assert await until_refused(auth, second.access_token) == "TOKEN_REVOKED"
        assert await until_refused(auth, first.access_token) == "TOKEN_REVOKED"
    assert (await auth.who((await auth.login("ada")).access_token)).username == "ada"


async def until_refused(auth: Auth, token: str) -> str:
    """Call with the token until it is refused; the reason."""
    while True:
        try:
            await auth.who(token)
        except grpc.aio.AioRpcError as error:
            info = error_info(status_of(error))
            return info.reason if info is not None else ""


async def test_a_watcher_of_what_matters_no_longer_is_left_in_peace(auth: Auth) -> None:
    first = events(watch(auth, "tools"))
    assert await anext(first) == "synchronized"
    await write(auth, RevocationKind.KEY, SUBJECT)
    assert await anext(first) == f"KEY {SUBJECT}"
    auth.clock.advance(hours=2)
    call, loop = watch(auth, "tools"), asyncio.get_running_loop()
    await call.read()
    began = loop.time()
    assert (await call.read()).WhichOneof("event") == "heartbeat"
    assert loop.time() - began > 0.5


async def test_a_replica_learns_of_anothers_revocations(
    auth: Auth, auth_settings: Callable[..., AuthSettings], identity: Callable[[str], TlsFiles]
) -> None:
    await auth.add_user("ada", "user")
    token = (await auth.login("ada")).access_token
    async with serving(auth_settings(), auth.clock) as (_, port):
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("tools"), service="auth", trust_domain="parley.local"
        )
        async with channel:
            call = RevocationServiceStub(channel).WatchRevocations(pb2.WatchRevocationsRequest(), timeout=60)
            feed = events(call)
            assert await anext(feed) == "synchronized"
            await auth.sessions.Logout(session_service_pb2.LogoutRequest(), metadata=bearer(token))
            async with asyncio.timeout(PATIENCE):
                assert (await anext(feed)).startswith("SESSION ")
                assert await until_refused(auth, token) == "TOKEN_REVOKED"
            call.cancel()


async def test_many_sessions_end_at_once_and_every_end_is_told(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    tokens = [(await auth.login("ada")).access_token for _ in range(6)]
    logout = session_service_pb2.LogoutRequest()
    every = session_service_pb2.EndSessionsRequest()
    await asyncio.gather(
        auth.sessions.EndSessions(every, metadata=bearer(tokens[0])),
        *(auth.sessions.Logout(logout, metadata=bearer(token)) for token in tokens[1:]),
        return_exceptions=True,
    )
    told = await stored(auth.database)
    assert len(told) == len(set(told))
    async with asyncio.timeout(PATIENCE):
        for token in tokens[1:]:
            assert await until_refused(auth, token) == "TOKEN_REVOKED"
