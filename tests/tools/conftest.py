"""The tools service in parts, and whole behind its real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from parley.tools.v1 import execution_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub, add_ToolServiceServicer_to_server
from services.rpc.audit import AuditSink
from services.rpc.channel import open_channel
from services.rpc.errors import ServiceError, error_info, status_of
from services.rpc.pages import PageTokens
from services.rpc.principal import Principal
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.rpc.verifier import Verifier
from services.tools.builtin import file, math, utility
from services.tools.call_stream import Caller, CallStream, StreamLimits
from services.tools.catalogue import (
    Arguments,
    Catalogue,
    Category,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)
from services.tools.events import Happening
from services.tools.metering import Door
from services.tools.runner import Runner
from services.tools.servicer import ToolServicer
from services.tools.settings import ToolsSettings
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools import sample_tools

SECONDS = 30.0
LIMITS = StreamLimits(running=16, open=64, total=256)


class Name(Arguments):
    name: str = ""


class Named(ToolResult):
    name: str


class Gate:
    """A tool on the event loop that tells when it has started and waits until it is let through."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most_inside = 0
        self.cancelled: list[str] = []
        self.entered = asyncio.Condition()
        self.open = asyncio.Event()
        self.left = asyncio.Event()
        self.tool = self._make()

    def _make(self) -> Tool:
        @tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS)
        async def gate(arguments: Name, _call: LoopCall) -> Named:
            """Waits at a gate."""
            await self._pass(arguments.name)
            return Named(name=arguments.name)

        return gate

    async def _pass(self, name: str) -> None:
        self.inside.append(name)
        self.most_inside = max(self.most_inside, len(self.inside))
        async with self.entered:
            self.entered.notify_all()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.inside.remove(name)
            if not self.inside:
                self.left.set()

    async def wait_for_inside(self, number: int) -> None:
        """Wait until so many calls stand at the gate."""
        async with asyncio.timeout(SECONDS), self.entered:
            await self.entered.wait_for(lambda: len(self.inside) >= number)

    async def wait_for_nobody(self) -> None:
        """Wait until everyone who was at the gate has left it."""
        async with asyncio.timeout(SECONDS):
            await self.left.wait()


@pytest.fixture
def workspaces(tmp_path: Path) -> Workspaces:
    template = tmp_path / "template"
    (template / "notes").mkdir(parents=True)
    (template / "welcome.txt").write_text("Welcome!\n")
    (template / "notes" / "todo.txt").write_text("- water the plants\n")
    return Workspaces(tmp_path / "workspaces", template)


@pytest.fixture
async def pool(workspaces: Workspaces) -> AsyncIterator[WorkerPool]:
    """Two workers that know the built-in and the misbehaving tools; they start when they are needed."""
    workspaces.check()
    catalogue = Catalogue((*math.TOOLS, *file.TOOLS, *sample_tools.TOOLS))
    workers = WorkerPool(workspaces, catalogue.worker_modules, 2)
    yield workers
    await workers.stop()


@pytest.fixture
def make_runner(pool: WorkerPool) -> Callable[..., Runner]:
    """Makes a runner of these tools."""

    def make(
        *tools: Tool,
        running: int = 64,
        running_per_caller: int = 16,
        waiting_per_caller: int = 64,
        turns_apart: Turns | None = None,
    ) -> Runner:
        turns = Turns(
            running=running, running_per_caller=running_per_caller, waiting_per_caller=waiting_per_caller
        )
        return Runner(Catalogue(tools), pool, turns, max_argument_bytes=2**20, turns_apart=turns_apart)

    return make


@pytest.fixture
def make_stream(make_runner: Callable[..., Runner], tokens: TokenMaker) -> Callable[..., CallStream]:
    """Makes a stream over these tools."""

    def make(
        *tools: Tool,
        principal: Principal | None = None,
        deadline: float | None = None,
        limits: StreamLimits = LIMITS,
    ) -> CallStream:
        caller = Caller(principal or tokens.principal("tools.*"), "request-1", deadline)
        return CallStream(make_runner(*tools), caller, limits)

    return make


async def discard(_what: Happening) -> None:
    """An `Emit` that nobody reads."""


class Service:
    """The tools service behind its real server, and ways to call it."""

    def __init__(self, port: int, identity: Callable[[str], TlsFiles], tokens: TokenMaker) -> None:
        self.port = port
        self._identity = identity
        self._tokens = tokens

    @asynccontextmanager
    async def stub(self, peer: str = "edge") -> AsyncIterator[ToolServiceStub]:
        """A client with the mesh identity of `peer`."""
        channel = open_channel(
            f"127.0.0.1:{self.port}", tls=self._identity(peer), service="tools", trust_domain="parley.local"
        )
        async with channel:
            yield ToolServiceStub(channel)

    def metadata(self, *permissions: str, **changes: str) -> tuple[tuple[str, str], ...]:
        """Call metadata of a caller who may do this."""
        return self._tokens.metadata(*permissions, **changes)


@pytest.fixture
def serve(
    tmp_path: Path,
    identity: Callable[[str], TlsFiles],
    tokens: TokenMaker,
    make_runner: Callable[..., Runner],
) -> Callable[..., object]:
    """Serves these tools."""

    @asynccontextmanager
    async def serving(
        tools: Iterable[Tool],
        limits: StreamLimits = LIMITS,
        verifier: Verifier | None = None,
        revocations: Revocations | None = None,
        door: Door | None = None,
        audit: AuditSink | None = None,
    ) -> AsyncIterator[Service]:
        files = identity("tools")
        settings = ToolsSettings(
            listen_address="127.0.0.1:0",
            tls_certificate_path=files.certificate,
            tls_private_key_path=files.private_key,
            tls_authority_path=files.authority,
            auth_address="127.0.0.1:1",
            workspace_path=tmp_path / "workspaces",
            grace_seconds=0,
        )
        tools = tuple(tools)
        server = RpcServer(settings, verifier or tokens.verifier(), revocations=revocations, audit=audit)
        runner, passed = make_runner(*tools), door or Door(None)
        servicer = ToolServicer(Catalogue(tools), runner, limits, PageTokens(), passed)
        server.add(add_ToolServiceServicer_to_server, servicer)
        port = await server.start()
        try:
            await server.set_serving(True)
            yield Service(port, identity, tokens)
        finally:
            await server.stop()

    return serving


@pytest.fixture
async def service(serve: Callable[..., object]) -> AsyncIterator[Service]:
    """The service with its built-in and the misbehaving tools."""
    async with serve((*math.TOOLS, *file.TOOLS, *utility.TOOLS, *sample_tools.TOOLS)) as running:
        yield running


def call_message(call_id: str, name: str, arguments: str = "{}") -> execution_pb2.ToolInvocation:
    return execution_pb2.ToolInvocation(call_id=call_id, tool=name, arguments=arguments)


def run_request(call_id: str, name: str, arguments: str = "{}") -> tool_service_pb2.ExecuteManyRequest:
    return tool_service_pb2.ExecuteManyRequest(call=call_message(call_id, name, arguments))


def cancel_request(call_id: str) -> tool_service_pb2.ExecuteManyRequest:
    return tool_service_pb2.ExecuteManyRequest(cancel=tool_service_pb2.CancelCall(call_id=call_id))


def reason(error: object) -> str:
    """The reason of an error raised here."""
    assert isinstance(error, ServiceError)
    return error.reason_name()


def outcome(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """The code of an error that came over the wire, and its reason."""
    info = error_info(status_of(error))
    return error.code(), info.reason if info else ""
