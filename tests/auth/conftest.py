"""The auth service over both databases: in parts, and whole behind its real server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from sqlalchemy import make_url
from ulid import ULID

from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.edge import external_auth_pb2
from parley.edge.external_auth_pb2_grpc import AuthorizationStub
from services.auth.__main__ import serving
from services.auth.names import canonical
from services.auth.passwords import PasswordCost, Passwords
from services.auth.settings import AuthSettings
from services.auth.store.models import Tenant, User, UserRole
from services.auth.store.schema import migrate
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.errors import error_info, status_of
from services.rpc.tls import TlsFiles
from services.sql.database import Database, parse_url
from tests.postgresql import new_database, sqlite_url

TRUST_DOMAIN = "parley.local"
CHEAP = PasswordCost(time_cost=1, memory_kib=16, lanes=1)
PASSWORD = "correct horse battery staple"
# Seconds that a revocation may take to arrive here. Promised is one; a test machine may stand still longer.
PATIENCE = 15


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.seconds = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)
        self.seconds += timedelta(**span).total_seconds()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "auth.db")
        return
    with new_database(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the present schema and no rows, once of each kind.

    It is copied: making it by the migrations takes longer than most tests.
    """
    if request.param == "sqlite":
        yield sqlite_url(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "auth.db"))
        return
    template = request.getfixturevalue("postgresql_template")
    with new_database(request.getfixturevalue("postgresql"), template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the present schema."""
    path = tmp_path_factory.mktemp("template") / "auth.db"
    asyncio.run(migrate(parse_url(sqlite_url(path))))
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str) -> Iterator[str]:
    """The name of a database with the present schema."""
    with new_database(postgresql) as url:
        asyncio.run(migrate(parse_url(url)))
        yield str(make_url(url).database)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the present schema and no rows."""
    database = Database(parse_url(database_url))
    yield database
    await database.close()


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(CHEAP)
    yield passwords
    passwords.close()


async def add_user(
    database: Database,
    passwords: Passwords,
    username: str,
    *roles: str,
    tenant: str = "",
    **changes: Any,
) -> User:
    """Store a user with the usual password, in a tenant of the user's own unless one is named."""
    now = datetime.now(UTC)
    tenant_id, user_id = tenant or str(ULID()), str(ULID())
    user = User(
        user_id=user_id,
        tenant_id=tenant_id,
        username=username,
        canonical_username=canonical(username),
        password_hash=await passwords.hash(PASSWORD),
        create_time=now,
        roles=[UserRole(user_id=user_id, role=role, tenant_id=tenant_id) for role in roles],
        **changes,
    )
    async with database.writing() as session:
        if not tenant:
            session.add(Tenant(tenant_id=tenant_id, name=tenant_id, create_time=now))
            await session.flush()
        session.add(user)
    return user


@dataclass
class Auth:
    """The running service, as the edge sees it."""

    port: int
    data_path: Path
    database: Database
    passwords: Passwords
    clock: FakeClock
    channel: RotatingChannel
    connect: Callable[[str], RotatingChannel]

    @property
    def sessions(self) -> Any:
        return SessionServiceStub(self.channel)

    @property
    def keys(self) -> Any:
        return KeyServiceStub(self.channel)

    async def add_user(self, username: str, *roles: str, **changes: Any) -> User:
        return await add_user(self.database, self.passwords, username, *roles, **changes)

    async def login(self, username: str, password: str = PASSWORD, address: str = "192.0.2.1") -> Any:
        """A new session's token pair."""
        answer = await self.sessions.Login(
            session_service_pb2.LoginRequest(username=username, password=password),
            metadata=(("x-parley-client-address", address),),
        )
        return answer.tokens

    async def refresh(self, refresh_token: str) -> Any:
        """The session's next token pair."""
        request = session_service_pb2.RefreshRequest(refresh_token=refresh_token)
        return (await self.sessions.Refresh(request)).tokens

    async def who(self, token: str) -> Any:
        return await self.sessions.WhoAmI(session_service_pb2.WhoAmIRequest(), metadata=bearer(token))

    async def create_key(self, token: str, **fields: Any) -> Any:
        request = key_service_pb2.CreateKeyRequest(**{"name": "a key", **fields})
        return await self.keys.CreateKey(request, metadata=bearer(token))

    async def revoke_key(self, token: str, key_id: str) -> Any:
        request = key_service_pb2.RevokeKeyRequest(key_id=key_id)
        return await self.keys.RevokeKey(request, metadata=bearer(token))

    async def list_keys(self, token: str, **fields: Any) -> Any:
        return await self.keys.ListKeys(key_service_pb2.ListKeysRequest(**fields), metadata=bearer(token))

    async def ask(self, method: str, token: str, **fields: Any) -> Any:
        """Call any method of the package by `Service.Method`."""
        service, name = method.split(".")
        found = descriptor_pool.Default().FindServiceByName(f"parley.auth.v1.{service}").methods_by_name[name]
        call = self.channel.unary_unary(
            f"/parley.auth.v1.{service}/{name}",
            request_serializer=message_factory.GetMessageClass(found.input_type).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
        )
        request = message_factory.GetMessageClass(found.input_type)(**fields)
        return await call(request, metadata=(*bearer(token), ("x-parley-client-address", "192.0.2.1")))

    async def refused(self, method: str, token: str, **fields: Any) -> str:
        """The typed reason that such a call is refused with."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(method, token, **fields)
        return reason(caught)

    async def token(self, username: str, *roles: str, **changes: Any) -> str:
        """An access token of a new user with these roles."""
        await self.add_user(username, *roles, **changes)
        return str((await self.login(username)).access_token)

    async def root_token(self) -> str:
        """An access token of the first start's administrator."""
        password = (self.data_path / "admin-password").read_text().strip()
        return str((await self.login("admin", password)).access_token)

    async def check(self, key: str | None, address: str = "192.0.2.1") -> Any:
        """What Envoy is told about a request with this key."""
        return await AuthorizationStub(self.channel).Check(check_request(key, address))


def check_request(key: str | None, address: str = "192.0.2.1") -> external_auth_pb2.CheckRequest:
    request = external_auth_pb2.CheckRequest()
    request.attributes.request.http.headers["x-request-id"] = "a-request-of-the-edge"
    request.attributes.request.http.headers["x-parley-client-address"] = address
    if key is not None:
        request.attributes.request.http.headers["x-parley-key"] = key
    return request


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def token_of(answer: Any) -> str:
    """The token that a check put on the request."""
    headers = {option.header.key: option.header.value for option in answer.ok_response.headers}
    return headers["authorization"].removeprefix("Bearer ")


def reason(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> str:
    """The typed reason that a call failed with."""
    info = error_info(status_of(caught.value))
    return info.reason if info is not None else ""


@pytest.fixture
def auth_settings(
    tmp_path: Path, database_url: str, identity: Callable[[str], TlsFiles]
) -> Callable[..., AuthSettings]:
    """Settings for a fast service of this test, with any changed."""

    def make(**changes: Any) -> AuthSettings:
        tls = identity("auth")
        settings = {
            "tls_certificate_path": tls.certificate,
            "tls_private_key_path": tls.private_key,
            "tls_authority_path": tls.authority,
            "database_url": database_url,
            "data_path": tmp_path / "data",
            "password_time_cost": CHEAP.time_cost,
            "password_memory_kib": CHEAP.memory_kib,
            "password_lanes": CHEAP.lanes,
            "drain_seconds": 0,
            "grace_seconds": 1,
        }
        return AuthSettings(**{**settings, **changes})

    return make


@pytest.fixture
async def auth(
    auth_settings: Callable[..., AuthSettings],
    identity: Callable[[str], TlsFiles],
    passwords: Passwords,
    clock: FakeClock,
) -> AsyncIterator[Auth]:
    """The whole service over mTLS."""
    settings = auth_settings()
    channels: list[RotatingChannel] = []
    async with serving(settings, clock) as (_, port):

        def connect(peer: str) -> RotatingChannel:
            channel = open_channel(
                f"127.0.0.1:{port}", tls=identity(peer), service="auth", trust_domain=TRUST_DOMAIN
            )
            channels.append(channel)
            return channel

        database = Database(parse_url(settings.database_url.get_secret_value()))
        yield Auth(port, settings.data_path, database, passwords, clock, connect("edge"), connect)
        for channel in channels:
            await channel.close()
        await database.close()
