"""Outside MCP servers, real ones, and the tools service that has them."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from parley.tools.v1.mcp_service_pb2_grpc import McpServiceStub, add_McpServiceServicer_to_server
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub, add_ToolServiceServicer_to_server
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.pages import PageTokens
from services.rpc.principal import Principal
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.tools.addresses import SystemResolver
from services.tools.builtin import math
from services.tools.call_stream import StreamLimits
from services.tools.catalogue import Catalogue
from services.tools.events import Happening, Progress, Result
from services.tools.mcp.link import Link, State
from services.tools.mcp.reach import Reach
from services.tools.mcp.servers import McpServers
from services.tools.mcp.servicer import McpServicer
from services.tools.mcp.state import StateFile
from services.tools.metering import Door
from services.tools.runner import Invocation, Runner
from services.tools.servicer import ToolServicer
from services.tools.settings import McpCommand, McpSecret, ToolsSettings
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker

SECONDS = 60.0
LOOK_SECONDS = 0.02
SCRIPT = Path(__file__).with_name("outside_server.py")
TOKEN = "a-bearer-token-of-the-operator"
TENANT = "tenant-1"
NOWHERE = "http://127.0.0.1:1025/mcp"
SERVERS = ("fixed", "older")
"""Those of the settings: one of the protocol of 2026, and one of the handshake before it."""


async def eventually(look: Callable[[], Any]) -> Any:
    """What a look gives as soon as it gives something."""
    pause = asyncio.Event()
    async with asyncio.timeout(SECONDS):
        while not (found := look()):
            asyncio.get_running_loop().call_later(LOOK_SECONDS, pause.set)
            await pause.wait()
            pause.clear()
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def http_server(port: int) -> AsyncIterator[None]:
    """The outside server on a port, until the block ends; it is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), "http", str(port), stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        await eventually(lambda: _takes_connections(port))
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@dataclass
class House:
    """The service with its outside servers, and ways to use it.

    Attributes:
        servers: The servers.
        catalogue: What there is.
        runner: Runs it.
        folder: Where the program leaves its notes, and the service its state.
        channel: To the service, as the edge.
        tokens: Makes callers.
        port: Where an HTTP server may listen.
        reach: What the operator allows.
        health: Whether every server was ready, whenever that was told.
    """

    servers: McpServers
    catalogue: Catalogue
    runner: Runner
    folder: Path
    tokens: TokenMaker
    port: int
    reach: Reach
    health: list[bool] = field(default_factory=list)
    channel: RotatingChannel | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def mcp(self) -> Any:
        assert self.channel is not None
        return McpServiceStub(self.channel)

    @property
    def tools(self) -> Any:
        assert self.channel is not None
        return ToolServiceStub(self.channel)

    def metadata(self, *permissions: str, tenant: str = TENANT) -> Any:
        return self.tokens.metadata(*(permissions or ("*",)), tenant_id=tenant)

    def principal(self, tenant: str = TENANT) -> Principal:
        return self.tokens.principal("*", tenant_id=tenant)

    def link(self, name: str, tenant: str = TENANT) -> Link:
        return self.servers.get(tenant, name)

    async def ready(self, name: str, tenant: str = TENANT) -> Link:
        link = self.link(name, tenant)
        await eventually(lambda: link.state is State.READY and self.find(f"mcp__{name}__echo", tenant))
        return link

    async def back(self, name: str) -> Link:
        """Wait until a server that just failed is ready again."""
        await eventually(lambda: self.link(name).state is State.FAILED)
        return await self.ready(name)

    def find(self, name: str, tenant: str = TENANT) -> Any:
        """A tool that can be called, or None."""
        tools = {tool.name: tool for tool in self.catalogue.permitted(self.principal(tenant), 0, "")}
        found = tools.get(name)
        return None if found is None or found.unavailable else found

    async def call(
        self, name: str, arguments: str = "{}", *, seconds: float | None = None, tenant: str = TENANT
    ) -> tuple[Result, list[Progress]]:
        """Call a tool; its result, and how far it said it was."""
        told: list[Progress] = []

        async def emit(what: Happening) -> None:
            if isinstance(what, Progress):
                told.append(what)

        invocation = Invocation("1", name, arguments, seconds)
        async with asyncio.timeout(SECONDS):
            return await self.runner.run(invocation, self.principal(tenant), None, emit), told


def settings_of(folder: Path, files: TlsFiles, notes: Path, port: int) -> ToolsSettings:
    environment = {"FOLDER": str(notes), "PATH": os.environ["PATH"]}
    secret = folder / "token"
    secret.write_text(f"{TOKEN}\n")
    return ToolsSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        auth_address="127.0.0.1:1",
        workspace_path=folder / "workspaces",
        grace_seconds=0,
        mcp_commands={
            "outside": McpCommand(argv=[sys.executable, str(SCRIPT)], environment=environment),
            "older": McpCommand(
                argv=[sys.executable, str(SCRIPT)], environment={**environment, "OLDER": "yes"}
            ),
            "missing": McpCommand(argv=["/nonexistent/program"]),
        },
        mcp_secrets={
            "token": McpSecret(path=secret, url=f"http://127.0.0.1:{port}"),
            "gone": McpSecret(path=folder / "nowhere", url=NOWHERE),
        },
        mcp_servers={
            "fixed": {"command": "outside", "lowest_safety_level": "safe"},
            "older": {"command": "older"},
        },
        mcp_open_networks=["127.0.0.0/8"],
        mcp_ports=list(range(1024, 65536)),
        mcp_max_servers=5,
    )


@asynccontextmanager
async def housed(
    folder: Path, identity: Callable[[str], TlsFiles], tokens: TokenMaker
) -> AsyncIterator[House]:
    """The service, until the block ends."""
    notes = folder / "notes"
    notes.mkdir(exist_ok=True)
    listens = free_port()
    settings = settings_of(folder, identity("tools"), notes, listens)
    workspaces = Workspaces(settings.workspace_path, None)
    workspaces.check()
    catalogue = Catalogue(math.TOOLS)
    async with AsyncExitStack() as stack:
        workers = WorkerPool(workspaces, catalogue.worker_modules, 1)
        stack.push_async_callback(workers.stop)
        turns = Turns(running=16, running_per_caller=16, waiting_per_caller=16)
        runner = Runner(catalogue, workers, turns, max_argument_bytes=2**20)
        resolver = SystemResolver()
        stack.callback(resolver.close)
        reach = Reach.of(settings, resolver)
        health: list[bool] = []

        async def report(answers: bool) -> None:
            health.append(answers)

        servers = McpServers(
            catalogue,
            reach,
            settings.mcp_servers,
            StateFile(folder / "state" / "servers.json"),
            report,
            max_servers=settings.mcp_max_servers,
            max_tools=settings.mcp_max_tools,
        )
        await stack.enter_async_context(servers.running())
        server = RpcServer(settings, tokens.verifier())
        limits = StreamLimits(running=4, open=4, total=4)
        tool_servicer = ToolServicer(catalogue, runner, limits, PageTokens(), Door(None))
        server.add(add_ToolServiceServicer_to_server, tool_servicer)
        server.add(add_McpServiceServicer_to_server, McpServicer(servers, PageTokens()))
        port = await server.start()
        stack.push_async_callback(server.stop)
        await server.set_serving(True)
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("edge"), service="tools", trust_domain="parley.local"
        )
        stack.push_async_callback(channel.close)
        yield House(servers, catalogue, runner, notes, tokens, listens, reach, health, channel)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    identity: Callable[[str], TlsFiles], tokens: TokenMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """The service with one server of its settings, which every test may use and none may break for good."""
    async with housed(tmp_path_factory.mktemp("mcp"), identity, tokens) as running:
        for name in SERVERS:
            await running.ready(name)
        yield running
