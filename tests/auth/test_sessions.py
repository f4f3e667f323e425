"""Logins and sessions through the real server, on both databases."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from sqlalchemy import update

from parley.auth.v1 import session_service_pb2
from services.auth.errors import CredentialsInvalid
from services.auth.passwords import PasswordCost, Passwords
from services.auth.sessions import SessionLife, Sessions
from services.auth.signing_keys import SigningKeys
from services.auth.store.models import Tenant, User
from services.auth.throttle import LoginThrottle
from services.auth.tokens import AccessTokens
from services.rpc.errors import error_info, status_of
from services.sql.database import Database
from tests.auth.conftest import CHEAP, PASSWORD, Auth, FakeClock, add_user, bearer, reason
from tests.auth.watching import watched


class Hashing(Passwords):
    """Counts the hashes of today's cost that passwords are compared with."""

    def __init__(self) -> None:
        super().__init__(CHEAP)
        self.compared = 0

    def _matches(self, stored: str, password: bytes) -> bool:
        self.compared += not self.outdated(stored)
        return super()._matches(stored, password)


async def test_a_login_gives_a_token_that_says_who_one_is(auth: Auth) -> None:
    user = await auth.add_user("Ada", "user", "viewer")
    tokens = await auth.login("ada")
    assert 890 < tokens.expires_in.seconds <= 900
    assert tokens.refresh_expires_in.seconds == pytest.approx(7 * 86400, abs=1)
    who = await auth.who(tokens.access_token)
    assert (who.user_id, who.username, who.tenant_id) == (user.user_id, "Ada", user.tenant_id)
    assert list(who.roles) == ["user", "viewer"]
    assert "inference.chat" in who.permissions
    assert who.key_id == ""


async def test_wrong_password_unknown_user_and_disabled_user_are_answered_alike(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    await auth.add_user("gone", "user", disable_time=datetime.now(UTC))
    answers = []
    for name, password in (("ada", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await auth.login(name, password)
        answers.append(status_of(caught.value).SerializeToString(deterministic=True))
    assert answers[0] == answers[1] == answers[2]
    assert reason(caught) == "CREDENTIALS_INVALID"
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("name", ["a\0b", "' OR 1=1 --", "\N{SNOWMAN}" * 128, "%s%n"])
async def test_a_strange_name_is_an_unknown_one(auth: Auth, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.login(name, "a\0b")
    assert reason(caught) == "CREDENTIALS_INVALID"


async def test_a_user_of_a_disabled_tenant_cannot_log_in(auth: Auth) -> None:
    user = await auth.add_user("ada", "user")
    async with auth.database.writing() as session:
        await session.execute(
            update(Tenant).where(Tenant.tenant_id == user.tenant_id).values(disable_time=datetime.now(UTC))
        )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.login("ada")
    assert reason(caught) == "CREDENTIALS_INVALID"


async def test_unknown_users_and_wrong_passwords_take_the_same_time(auth: Auth, tmp_path: object) -> None:
    """Compares medians of interleaved logins with a hash that dwarfs the rest."""
    cost = PasswordCost(time_cost=2, memory_kib=16_384, lanes=1)
    passwords = Passwords(cost)
    await add_user(auth.database, passwords, "ada", "user")
    keys = SigningKeys(auth.data_path / "signing-keys", auth.clock, SessionLife().session)
    tokens = AccessTokens(keys, auth.clock, issuer="p", audience="p", life=SessionLife().refresh)
    throttle = LoginThrottle(auth.database, auth.clock)
    sessions = Sessions(auth.database, passwords, throttle, tokens, auth.clock, SessionLife())
    seconds: dict[str, list[float]] = {"ada": [], "nobody": []}
    for attempt in range(10):
        for name, taken in seconds.items():
            begin = time.perf_counter()
            with pytest.raises(Exception, match="password is wrong"):
                await sessions.login(name, "wrong", f"192.0.2.{attempt}")
            taken.append(time.perf_counter() - begin)
        auth.clock.advance(minutes=5)
    passwords.close()
    known, unknown = statistics.median(seconds["ada"]), statistics.median(seconds["nobody"])
    # Without the dummy the unknown name would take about a tenth.
    assert 0.5 < known / unknown < 2


async def test_an_unknown_name_and_a_wrong_password_are_the_same_work(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """They ask the database the same and hash once: alike whoever measures it."""
    keys = SigningKeys(tmp_path / "keys", clock, SessionLife().session)
    tokens = AccessTokens(keys, clock, issuer="p", audience="p", life=SessionLife().refresh)
    work = []
    for name in ("ada", "nobody"):
        passwords = Hashing()
        if name == "ada":
            await add_user(database, passwords, name, "user")
        throttle = LoginThrottle(database, clock)
        logins = Sessions(database, passwords, throttle, tokens, clock, SessionLife())
        with watched(database) as done, pytest.raises(CredentialsInvalid):
            await logins.login(name, "wrong", "192.0.2.1")
        passwords.close()
        work.append((passwords.compared, [line for line in done if not line.startswith("a row of")]))
    assert work[0] == work[1]
    assert work[0][0] == 1


async def test_failures_slow_logins_down_and_say_until_when(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    for _ in range(6):
        with pytest.raises(grpc.aio.AioRpcError):
            await auth.login("ada", "wrong")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.login("ada")
    assert reason(caught) == "LOGIN_THROTTLED"
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status_of(caught.value).details)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1
    auth.clock.advance(seconds=1)
    assert (await auth.login("ada")).access_token


async def test_the_wait_is_the_same_for_a_name_that_does_not_exist(auth: Auth) -> None:
    for _ in range(6):
        with pytest.raises(grpc.aio.AioRpcError):
            await auth.login("nobody", "wrong")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.login("nobody", "wrong")
    assert reason(caught) == "LOGIN_THROTTLED"


async def test_the_address_counted_is_the_one_that_the_edge_states(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    for attempt in range(21):
        with pytest.raises(grpc.aio.AioRpcError):
            await auth.login(f"user-{attempt}", "wrong", "192.0.2.7")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.login("ada", PASSWORD, "192.0.2.7")
    assert reason(caught) == "LOGIN_THROTTLED"
    assert (await auth.login("ada", PASSWORD, "203.0.113.99")).access_token


async def test_a_hash_of_an_older_cost_is_renewed_at_login(auth: Auth) -> None:
    dearer = Passwords(PasswordCost(time_cost=2, memory_kib=16, lanes=1))
    user = await add_user(auth.database, dearer, "ada", "user")
    dearer.close()
    await auth.login("ada")
    async with auth.database.reading() as session:
        stored = await session.get_one(User, user.user_id)
    assert stored.password_hash != user.password_hash
    assert not auth.passwords.outdated(stored.password_hash)
    assert (await auth.login("ada")).access_token


async def test_a_refresh_token_is_good_once_and_its_successor_after_it(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    first = await auth.login("ada")
    second = await auth.refresh(first.refresh_token)
    third = await auth.refresh(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert (await auth.who(third.access_token)).username == "ada"


async def test_reuse_ends_the_whole_session_and_no_other(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    stolen, other = await auth.login("ada"), await auth.login("ada")
    rotated = await auth.refresh(stolen.refresh_token)
    for token in (stolen.refresh_token, rotated.refresh_token, stolen.refresh_token):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await auth.refresh(token)
        assert reason(caught) == "REFRESH_TOKEN_INVALID"
    assert (await auth.refresh(other.refresh_token)).access_token


async def test_of_two_refreshes_at_once_one_wins_and_the_session_ends(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    answers = await asyncio.gather(
        *(auth.refresh(tokens.refresh_token) for _ in range(4)), return_exceptions=True
    )
    winners = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(winners) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.refresh(winners[0].refresh_token)
    assert reason(caught) == "REFRESH_TOKEN_INVALID"


async def test_a_refresh_token_ends_when_it_is_not_used(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    auth.clock.advance(days=7)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.refresh(tokens.refresh_token)
    assert reason(caught) == "REFRESH_TOKEN_INVALID"


async def test_a_session_ends_however_often_it_is_refreshed(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    for _ in range(5):
        auth.clock.advance(days=5)
        tokens = await auth.refresh(tokens.refresh_token)
    assert tokens.refresh_expires_in.seconds <= 5 * 86400
    auth.clock.advance(days=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.refresh(tokens.refresh_token)
    assert reason(caught) == "REFRESH_TOKEN_INVALID"


async def test_a_disabled_user_cannot_go_on(auth: Auth) -> None:
    user = await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    async with auth.database.writing() as session:
        await session.execute(
            update(User).where(User.user_id == user.user_id).values(disable_time=datetime.now(UTC))
        )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.refresh(tokens.refresh_token)
    assert reason(caught) == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["x", "' OR 1=1 --", "x" * 512, "\N{SNOWMAN}"])
async def test_an_invented_refresh_token_is_refused(auth: Auth, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.refresh(token)
    assert reason(caught) == "REFRESH_TOKEN_INVALID"


async def test_refresh_tokens_are_not_in_the_database(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    async with auth.database.reading() as session:
        connection = await session.connection()
        rows = (await connection.exec_driver_sql("SELECT * FROM refresh_tokens")).all()
    assert len(rows) == 1
    assert tokens.refresh_token not in str(rows)


async def test_the_published_keys_verify_the_tokens(auth: Auth) -> None:
    jwks = await auth.sessions.GetJwks(session_service_pb2.GetJwksRequest())
    (key,) = jwks.keys
    assert (key.kty, key.crv, key.use, key.alg) == ("EC", "P-256", "sig", "ES256")
    assert all((key.x, key.y, key.kid))


@pytest.mark.parametrize("peer", ["inference", "tools"])
async def test_a_sister_service_gets_the_keys_and_nothing_else(auth: Auth, peer: str) -> None:
    stub = type(auth.sessions)(auth.connect(peer))
    assert (await stub.GetJwks(session_service_pb2.GetJwksRequest())).keys
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Login(session_service_pb2.LoginRequest(username="admin", password="x"))
    assert reason(caught) == "PEER_NOT_ALLOWED"


async def test_an_expired_token_is_told_as_such(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    auth.clock.advance(minutes=-16)
    tokens = await auth.login("ada")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.sessions.WhoAmI(session_service_pb2.WhoAmIRequest(), metadata=bearer(tokens.access_token))
    assert reason(caught) == "TOKEN_EXPIRED"
    info = error_info(status_of(caught.value))
    assert info is not None
    assert info.domain == "policy.parley"
