"""Users of an outside issuer log in: over both databases, at the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from sqlalchemy import func, select, update

from parley.auth.v1 import session_service_pb2 as pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.auth.__main__ import serving
from services.auth.external.logins import display_name
from services.auth.settings import AuthSettings
from services.auth.store.external_models import ExternalIdentity
from services.auth.store.models import Tenant, User
from services.rpc.channel import open_channel
from services.rpc.tls import TlsFiles
from services.sql.database import Database, parse_url
from tests.auth.conftest import PATIENCE, bearer, reason
from tests.auth.external.local_issuer import CLIENT, LocalIssuer, local_issuer

ROLES = {"staff": ("user",), "boss": ("operator",), "nobody": ()}


@dataclass
class Trusting:
    """A running auth that trusts a running issuer."""

    outside: LocalIssuer
    sessions: Any
    database: Database

    async def exchange(self, token: str, kind: Any = pb2.EXTERNAL_TOKEN_TYPE_ID_TOKEN) -> Any:
        request = pb2.ExchangeExternalTokenRequest(subject_token=token, subject_token_type=kind)
        return (await self.sessions.ExchangeExternalToken(request)).tokens

    async def login(self, **claims: Any) -> Any:
        return await self.exchange(self.outside.token(**claims))

    async def who(self, tokens: Any) -> Any:
        return await self.sessions.WhoAmI(pb2.WhoAmIRequest(), metadata=bearer(tokens.access_token))

    async def refused(self, **claims: Any) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.login(**claims)
        return reason(caught)

    async def count(self, table: Any) -> int:
        async with self.database.reading() as session:
            return await session.scalar(select(func.count()).select_from(table)) or 0

    async def change(self, statement: Any) -> None:
        async with self.database.writing() as session:
            await session.execute(statement)


@pytest.fixture
async def trusting(
    auth_settings: Callable[..., AuthSettings], identity: Callable[[str], TlsFiles]
) -> AsyncIterator[Trusting]:
    tls = identity("outside")
    async with local_issuer(tls) as outside:
        settings = auth_settings(
            oidc_issuer=outside.url,
            oidc_audience=CLIENT,
            oidc_roles=ROLES,
            oidc_authority_path=tls.authority,
        )
        async with serving(settings) as (_, port):
            channel = open_channel(
                f"127.0.0.1:{port}", tls=identity("edge"), service="auth", trust_domain="parley.local"
            )
            database = Database(parse_url(settings.database_url.get_secret_value()))
            async with channel:
                yield Trusting(outside, SessionServiceStub(channel), database)
            await database.close()


async def test_a_user_is_made_at_first_sight_and_known_again(trusting: Trusting) -> None:
    first = await trusting.who(await trusting.login())
    again = await trusting.who(await trusting.login(preferred_username="ada.lovelace"))
    assert (first.username, list(first.roles)) == ("ada", ["user"])
    assert (again.user_id, again.username) == (first.user_id, "ada")
    other = await trusting.who(await trusting.login(sub="subject-2"))
    assert other.user_id != first.user_id
    assert other.username.startswith("ada-")
    assert await trusting.count(ExternalIdentity) == 2


async def test_logins_at_once_make_one_user(trusting: Trusting) -> None:
    answers = await asyncio.gather(*(trusting.login() for _ in range(5)))
    users = {(await trusting.who(tokens)).user_id for tokens in answers}
    assert len(users) == 1
    assert await trusting.count(ExternalIdentity) == 1


async def test_who_is_called_as_someone_here_is_not_them(trusting: Trusting) -> None:
    stranger = await trusting.who(await trusting.login(preferred_username="Admin", sub="admin"))
    assert stranger.username.startswith("Admin-")
    assert list(stranger.roles) == ["user"]


async def test_the_roles_are_what_the_token_says_each_time(trusting: Trusting) -> None:
    boss = await trusting.login(roles=["staff", "boss"])
    assert list((await trusting.who(boss)).roles) == ["operator", "user"]
    staff = await trusting.login()
    assert list((await trusting.who(staff)).roles) == ["user"]
    async with asyncio.timeout(PATIENCE):
        assert await until_refused(trusting, boss) == "TOKEN_REVOKED"
    assert list((await trusting.who(staff)).roles) == ["user"]


async def test_who_has_no_role_is_refused_and_loses_what_they_had(trusting: Trusting) -> None:
    assert await trusting.refused(sub="stranger", roles=["unknown"]) == "EXTERNAL_USER_REFUSED"
    assert await trusting.count(ExternalIdentity) == 0
    before = await trusting.login()
    assert await trusting.refused(roles=["nobody"]) == "EXTERNAL_USER_REFUSED"
    async with asyncio.timeout(PATIENCE):
        assert await until_refused(trusting, before) == "TOKEN_REVOKED"


async def test_who_is_disabled_here_stays_out(trusting: Trusting) -> None:
    user_id = (await trusting.who(await trusting.login())).user_id
    await trusting.change(update(User).where(User.user_id == user_id).values(disable_time=User.create_time))
    assert await trusting.refused() == "EXTERNAL_USER_REFUSED"


async def test_a_disabled_tenant_takes_nobody_in(trusting: Trusting) -> None:
    await trusting.change(update(Tenant).values(disable_time=Tenant.create_time))
    assert await trusting.refused() == "EXTERNAL_USER_REFUSED"


async def test_there_is_no_password_to_log_in_with(trusting: Trusting) -> None:
    await trusting.login()
    for password in ("None", " ", "ada"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trusting.sessions.Login(pb2.LoginRequest(username="ada", password=password))
        assert reason(caught) == "CREDENTIALS_INVALID"


async def test_the_session_goes_on_with_its_refresh_token_and_ends_early(trusting: Trusting) -> None:
    tokens = await trusting.login()
    assert tokens.refresh_expires_in.ToTimedelta().total_seconds() <= 12 * 3600
    request = pb2.RefreshRequest(refresh_token=tokens.refresh_token)
    renewed = (await trusting.sessions.Refresh(request)).tokens
    assert (await trusting.who(renewed)).username == "ada"


async def test_a_bad_token_is_told_from_an_issuer_that_is_away(trusting: Trusting) -> None:
    trusting.outside.answers["/keys"] = (503, {}, b"")
    assert await trusting.refused() == "DEPENDENCY_UNAVAILABLE"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trusting.exchange("not.a.token")
    assert reason(caught) == "EXTERNAL_TOKEN_INVALID"


async def test_where_no_issuer_is_trusted_no_token_is_taken(auth: Any) -> None:
    request = pb2.ExchangeExternalTokenRequest(
        subject_token="a.b.c", subject_token_type=pb2.EXTERNAL_TOKEN_TYPE_ID_TOKEN
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.sessions.ExchangeExternalToken(request)
    assert reason(caught) == "EXTERNAL_LOGIN_OFF"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"oidc_issuer": "http://issuer.example"}, "must begin with https://"),
        ({"oidc_issuer": "https://issuer.example"}, "needs oidc_audience and oidc_roles"),
        ({"oidc_algorithms": ("HS256",)}, "Input should be 'RS256'"),
        ({"oidc_algorithms": ("none",)}, "Input should be 'RS256'"),
    ],
)
def test_settings_that_trust_too_much_are_refused(
    auth_settings: Callable[..., AuthSettings], changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        auth_settings(**changes)


@pytest.mark.parametrize(
    ("stated", "shown"),
    [("Ada", "Ada"), ("a\nb\x00", "ab"), ("\u202eadmin", "admin"), ("\n", "user"), ("x" * 500, "x" * 96)],
)
def test_names_are_made_fit_to_be_shown(stated: str, shown: str) -> None:
    assert display_name(stated) == shown


async def until_refused(trusting: Trusting, tokens: Any) -> str:
    """Call with the token until it is refused; the reason."""
    while True:
        try:
            await trusting.who(tokens)
        except grpc.aio.AioRpcError:
            break
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trusting.who(tokens)
    return reason(caught)
