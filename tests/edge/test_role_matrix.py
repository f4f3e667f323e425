"""Every method of every service, by every kind of caller, through the real edge and the real auth service.

What must come of it stands in the guide's page of permissions, and nowhere else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from sqlalchemy import select

from cli.local.preflight import free_port
from docs.generate import DOCS, GUIDE
from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.auth.__main__ import serving
from services.auth.descriptors import CONTRACTS
from services.auth.passwords import Passwords
from services.auth.settings import AuthSettings
from services.auth.store.models import Tenant
from services.rpc.channel import open_channel
from services.rpc.errors import error_info, status_of
from services.rpc.principal import permits
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.verifier import JwksVerifier, remote_keys
from services.sql.database import Database, parse_url
from tests.auth.conftest import CHEAP, PASSWORD, TRUST_DOMAIN, add_user
from tests.edge.conftest import Identity, edge_settings
from tests.edge.front import Front, front

pytestmark = pytest.mark.slow

ROLES = ("admin", "operator", "user", "viewer")
NARROW_SCOPES = ("tools.list",)
ANSWER_SECONDS = 20
# A stream that says nothing at first has let its caller in.
SILENCE_SECONDS = 2
ROW = re.compile(r"\| `(?P<method>[\w.]+)` \| (?P<needs>[^|]+) \|(?P<roles>.*)\|")


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
        method: `package.Service.Method`.
        needs: What the caller must show, in the page's words.
        roles: The built-in roles that the page says have it.
    """

    method: str
    needs: str
    roles: frozenset[str]

    def lets_in(self, caller: str) -> bool:
        """Whether the page lets such a caller in."""
        if caller == "nobody":
            return self.needs == "nothing"
        if caller == "narrow key":
            return self.needs in ("nothing", "any token") or permits(NARROW_SCOPES, self.needs.strip("`"))
        return caller in self.roles


def rows(title: str) -> list[Row]:
    """The table under this heading of the page."""
    section = (DOCS / GUIDE / "permissions.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    found = [ROW.fullmatch(line) for line in section.splitlines()]
    return [Row(row["method"], row["needs"].strip(), frozenset(_named(row["roles"]))) for row in found if row]


def _named(cells: str) -> list[str]:
    return [role for role, cell in zip(ROLES, cells.split("|"), strict=False) if cell.strip() == "yes"]


MATRIX = rows("Methods")
INSIDE = rows("Inside the mesh")


@dataclass
class House:
    """The edge with everything behind it, and the credentials of each kind of caller."""

    edge: Front
    channel: grpc.aio.Channel
    narrow_key: str

    async def metadata(self, caller: str) -> tuple[tuple[str, str], ...]:
        """New credentials: some methods end the session that calls them."""
        if caller == "nobody":
            return ()
        if caller == "narrow key":
            return (("x-api-key", self.narrow_key),)
        return await bearer(self.channel, caller)


async def bearer(channel: grpc.aio.Channel, username: str) -> tuple[tuple[str, str], ...]:
    request = session_service_pb2.LoginRequest(username=username, password=PASSWORD)
    tokens = (await SessionServiceStub(channel).Login(request, timeout=ANSWER_SECONDS)).tokens
    return (("authorization", f"Bearer {tokens.access_token}"),)


def add_willing(server: RpcServer, name: str) -> None:
    """Add every service of a package. Each answers every method with nothing, and has no rules of its own."""
    for contract in CONTRACTS:
        if contract.DESCRIPTOR.package != f"parley.{name}.v1":
            continue
        stubs = import_module(f"{contract.__name__}_grpc")
        for service in contract.DESCRIPTOR.services_by_name.values():
            base = getattr(stubs, f"{service.name}Servicer")
            answers = {method.name: answering(method) for method in service.methods}
            servicer = type(f"Willing{service.name}", (base,), answers)()
            server.add(getattr(stubs, f"add_{service.name}Servicer_to_server"), servicer)


def answering(method: MethodDescriptor) -> Any:
    """What answers a method with an empty message."""
    response = message_factory.GetMessageClass(method.output_type)

    async def unary(_self: Any, _request: Any, _context: Any) -> Any:
        return response()

    async def stream(_self: Any, _request: Any, _context: Any) -> AsyncIterator[Any]:
        yield response()

    return stream if method.server_streaming else unary


async def start(name: str, identity: Identity, auth: str, stack: AsyncExitStack) -> str:
    """Start a service that trusts the tokens of the auth service; gives its address."""
    files = identity(name)
    keys = open_channel(auth, tls=files, service="auth", trust_domain=TRUST_DOMAIN)
    stack.push_async_callback(keys.close)
    settings = ServiceSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        drain_seconds=0,
        grace_seconds=0,
    )
    verifier = JwksVerifier(remote_keys(keys), issuer=settings.token_issuer, audience=settings.token_audience)
    server = RpcServer(settings, verifier)
    add_willing(server, name)
    address = f"127.0.0.1:{await server.start()}"
    stack.push_async_callback(server.stop)
    await server.set_serving(True)
    return address


async def make_users(settings: AuthSettings) -> None:
    """One user of each built-in role, in the root tenant."""
    database, passwords = Database(parse_url(settings.database_url.get_secret_value())), Passwords(CHEAP)
    async with database.reading() as session:
        root = await session.scalar(select(Tenant.tenant_id).where(Tenant.root))
    for role in ROLES:
        await add_user(database, passwords, f"the-{role}", role, tenant=str(root))
    passwords.close()
    await database.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    files = identity("auth")
    settings = AuthSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        database_url=f"sqlite+aiosqlite:///{folder / 'auth.db'}",
        data_path=folder / "auth",
        password_time_cost=CHEAP.time_cost,
        password_memory_kib=CHEAP.memory_kib,
        password_lanes=CHEAP.lanes,
        drain_seconds=0,
        grace_seconds=0,
    )
    async with AsyncExitStack() as stack:
        _, port = await stack.enter_async_context(serving(settings))
        auth = f"127.0.0.1:{port}"
        behind = {name: await start(name, identity, auth, stack) for name in ("tools", "inference")}
        await make_users(settings)
        told = edge_settings(
            identity("edge"),
            folder,
            listen_address=f"127.0.0.1:{free_port()}",
            auth_addresses=[auth],
            tools_addresses=[behind["tools"]],
            models={"demo": [behind["inference"]]},
        )
        edge = await stack.enter_async_context(front(told, folder))
        channel = await stack.enter_async_context(edge.channel())
        request = key_service_pb2.CreateKeyRequest(name="narrow", scopes=NARROW_SCOPES)
        made = await KeyServiceStub(channel).CreateKey(request, metadata=await bearer(channel, "the-admin"))
        yield House(edge, channel, made.secret)


async def outcome(house: House, method: str, caller: str) -> str:
    """`in`, or the typed reason of the refusal."""
    username = f"the-{caller}" if caller in ROLES else caller
    try:
        await called(house.channel, method, await house.metadata(username))
    except grpc.aio.AioRpcError as error:
        info = error_info(status_of(error))
        reason = info.reason if info is not None else error.code().name
        kept_out = ("TOKEN_MISSING", "TOKEN_INVALID", "PERMISSION_MISSING", "METHOD_UNKNOWN", "KEY_INVALID")
        return reason if reason in kept_out or info is None else "in"
    return "in"


async def called(channel: grpc.aio.Channel, name: str, metadata: tuple[tuple[str, str], ...]) -> None:
    """Call a method with an empty request, up to its first answer."""
    service, _, method = name.rpartition(".")
    streams = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    path = f"/{service}/{method}"
    if streams.client_streaming and not streams.server_streaming:
        await channel.stream_unary(path)(iter(()), metadata=metadata, timeout=ANSWER_SECONDS)
    elif streams.client_streaming:
        await first(channel.stream_stream(path)(iter(()), metadata=metadata, timeout=ANSWER_SECONDS))
    elif streams.server_streaming:
        await first(channel.unary_stream(path)(b"", metadata=metadata, timeout=ANSWER_SECONDS))
    else:
        await channel.unary_unary(path)(b"", metadata=metadata, timeout=ANSWER_SECONDS)


async def first(call: Any) -> None:
    """Wait for a stream's first answer, for its refusal, or for it to stay silent."""
    try:
        await asyncio.wait_for(call.read(), SILENCE_SECONDS)
    except TimeoutError:
        call.cancel()


def expected(row: Row, caller: str) -> str:
    if row.lets_in(caller):
        return "in"
    return "TOKEN_MISSING" if caller == "nobody" else "PERMISSION_MISSING"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.method)
async def test_a_method_lets_in_whom_the_page_says(house: House, row: Row) -> None:
    callers = ("nobody", *ROLES, "narrow key")
    answers = {caller: await outcome(house, row.method, caller) for caller in callers}
    assert answers == {caller: expected(row, caller) for caller in callers}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("row", INSIDE, ids=lambda row: row.method)
async def test_a_method_of_the_mesh_is_unknown_at_the_edge(house: House, row: Row) -> None:
    callers = ("nobody", *ROLES, "narrow key")
    answers = {caller: await outcome(house, row.method, caller) for caller in callers}
    assert answers == dict.fromkeys(callers, "METHOD_UNKNOWN")


def test_the_page_is_whole() -> None:
    assert len(MATRIX) > 50
    assert {role for row in MATRIX for role in row.roles} == set(ROLES)
    assert [row.method for row in MATRIX if row.roles >= {"viewer"} and "write" in row.needs] == []
