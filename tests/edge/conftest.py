"""A whole edge: Envoy over mutual TLS in front of toy services."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from deploy.envoy.settings import EdgeSettings
from protos.generate_clients import GO
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles
from tests.conftest import TokenMaker
from tests.edge.front import Front, front
from tests.edge.toys import (
    Seen,
    ToldRefusals,
    ToyKeyExchange,
    add_auth,
    add_inference,
    add_refusals,
    add_tools,
)
from tests.edge.typescript import INSTALLED

Identity = Callable[[str], TlsFiles]

# The set-up installs what they need where npm is, and says so where it is not.
collect_ignore = [] if INSTALLED else ["test_browser.py", "test_node.py"]
if any(shutil.which(program) is None for program in ("go", *GO.plugins)):
    collect_ignore.append("test_go.py")  # Debian's packages are not there (docs/decisions/0266)


def edge_settings(files: TlsFiles, folder: Path, **changes: Any) -> EdgeSettings:
    """Settings of an edge whose services listen nowhere, with any of them changed."""
    told = {
        "listen_address": "127.0.0.1:8443",
        "tls_certificate_path": files.certificate,
        "tls_private_key_path": files.private_key,
        "tls_authority_path": files.authority,
        "auth_addresses": ["127.0.0.1:7001"],
        "tools_addresses": ["127.0.0.1:7002"],
        "models": {"demo": ["127.0.0.1:7003"]},
        "access_log_path": str(folder / "access.log"),
    }
    return EdgeSettings(**{**told, **changes})


@dataclass
class Mesh:
    """Toy services on ports of their own.

    Attributes:
        addresses: Where each listens, by its name: `auth`, `tools`, `demo`, `large`.
        seen: What each saw of its calls.
        servers: The servers themselves.
        exchange: What the edge asks about keys.
        told: What the edge tells of its refusals.
    """

    addresses: dict[str, str]
    seen: dict[str, Seen]
    servers: dict[str, RpcServer]
    exchange: ToyKeyExchange
    told: ToldRefusals

    def upstreams(self) -> dict[str, Any]:
        """The settings that tell the edge of them."""
        return {
            "auth_addresses": [self.addresses["auth"]],
            "tools_addresses": [self.addresses["tools"]],
            "models": {"demo": [self.addresses["demo"]], "org/Large-2": [self.addresses["large"]]},
        }


def service(name: str, identity: Identity, tokens: TokenMaker, address: str = "127.0.0.1:0") -> RpcServer:
    """A server with the mesh identity of this name, without servicers."""
    files = identity(name)
    settings = ServiceSettings(
        listen_address=address,
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        drain_seconds=0,
        grace_seconds=0,
    )
    return RpcServer(settings, tokens.verifier())


async def start_mesh(identity: Identity, tokens: TokenMaker, stack: AsyncExitStack) -> Mesh:
    """Start every toy service; the stack stops them."""
    identities = {"auth": "auth", "tools": "tools", "demo": "inference", "large": "inference"}
    servers = {name: service(identities[name], identity, tokens) for name in identities}
    seen = {name: Seen() for name in identities}
    exchange = add_auth(servers["auth"], tokens, seen["auth"])
    told = add_refusals(servers["auth"])
    add_tools(servers["tools"], seen["tools"])
    for pool in ("demo", "large"):
        add_inference(servers[pool], pool, seen[pool])
    addresses = {}
    for name, server in servers.items():
        addresses[name] = f"127.0.0.1:{await server.start()}"
        stack.push_async_callback(server.stop)
        await server.set_serving(True)
    return Mesh(addresses, seen, servers, exchange, told)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(identity: Identity, tokens: TokenMaker) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        yield await start_mesh(identity, tokens, stack)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge(
    mesh: Mesh, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """One edge for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("edge")
    settings = edge_settings(
        identity("edge"),
        folder,
        listen_address=f"127.0.0.1:{free_port()}",
        allowed_origins=["https://app.example"],
        max_body_bytes=2**20,
        key_check_seconds=2,
        **mesh.upstreams(),
    )
    async with front(settings, folder) as running:
        yield running
