"""A store, a scripted tools service on its real contract, and an inference service over mTLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from mcp.client import Client as McpClient
from opentelemetry.trace import Tracer
from redis.asyncio import Redis

from parley.inference.v1.adapter_service_pb2_grpc import (
    AdapterServiceStub,
    add_AdapterServiceServicer_to_server,
)
from parley.inference.v1.conversation_service_pb2_grpc import (
    ConversationServiceStub,
    add_ConversationServiceServicer_to_server,
)
from parley.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from parley.inference.v1.rollout_service_pb2_grpc import (
    RolloutServiceStub,
    add_RolloutServiceServicer_to_server,
)
from parley.tools.v1 import execution_pb2, tool_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import (
    ToolServiceServicer,
    ToolServiceStub,
    add_ToolServiceServicer_to_server,
)
from services.inference.adapters.pool import AdapterPool
from services.inference.adapters.servicer import AdapterServicer
from services.inference.adapters.shelf import Shelf
from services.inference.adapters.wishes import Wishes
from services.inference.answering import Answering
from services.inference.catalogue import Catalogue
from services.inference.coalescing import Coalescing
from services.inference.conversations.continuing import Continuing
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.servicer import ConversationServicer
from services.inference.converse_stream import ConverseStream
from services.inference.directory import ModelDirectory
from services.inference.embedder import Embedder
from services.inference.embedding import Embedding
from services.inference.engine import Engine
from services.inference.journal import Journal
from services.inference.mailbox import StoreMailbox
from services.inference.models import Models
from services.inference.resumption import Resumption
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.room import open_rollouts
from services.inference.run_tokens import OwnTokens, RunTokens
from services.inference.runs import RunRegistry
from services.inference.seated_engine import SeatedEngine
from services.inference.seats import Door, Seats
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings
from services.inference.tape import Bounds
from services.inference.tool_calls import RemoteToolbox
from services.inference.turn_cache.cache import TurnCache
from services.ledger.admission import Admission
from services.ledger.lease import LeaseLife
from services.ledger.ledger import Ledger, open_store
from services.ledger.remote_limits import LimitSource
from services.rpc.audit import AuditSink
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.pages import PageTokens
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.rpc.verifier import Verifier
from tests.conftest import TokenMaker
from tests.inference.scripted import NoLimits

WEIGHTS = {"operator": 4.0}
LEASES = LeaseLife(slice_tokens=8, seconds=30.0)

Identity = Callable[[str], TlsFiles]


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    async with open_store(store_url) as client:
        yield client


def settings_for(tls: TlsFiles, **changes: Any) -> InferenceSettings:
    """Settings of a service with this identity, on a free port."""
    return InferenceSettings(
        tls_certificate_path=tls.certificate,
        tls_private_key_path=tls.private_key,
        tls_authority_path=tls.authority,
        auth_address="127.0.0.1:1",
        tools_address="127.0.0.1:1",
        store_url="redis://127.0.0.1:1/0",
        model="scripted",
        drain_seconds=0,
        grace_seconds=1,
        **changes,
    )


class ScriptedToolService(ToolServiceServicer):
    """Answers on the real contract: `slow` never, `broken` with an error, others at once.

    `danger` is dangerous, the others are safe. Meanwhile `slow` calls `wait` of the MCP
    server at `dials`, if that is set.
    """

    def __init__(self) -> None:
        self.listed = 0
        self.running = 0
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.arguments: list[str] = []
        self.calls: list[execution_pb2.ToolInvocation] = []
        self.breaks_off = False
        self.dials = ""
        self.lists = asyncio.Event()
        self.lists.set()

    async def ListTools(self, request: Any, context: Any) -> tool_service_pb2.ListToolsResponse:
        self.listed += 1
        await self.lists.wait()
        names = ["broken", "calculator", "danger", "off", "slow"]
        at = names.index(request.page_token) if request.page_token else 0
        tool = tool_pb2.Tool(name=names[at], description="A tool.", parameters_schema='{"type":"object"}')
        tool.safety_level = (
            tool_pb2.SAFETY_LEVEL_DANGEROUS if names[at] == "danger" else tool_pb2.SAFETY_LEVEL_SAFE
        )
        tool.permission = f"tools.test.{names[at]}"
        tool.unavailable = "No sandbox works here." if names[at] == "off" else ""
        following = names[at + 1] if at + 1 < len(names) else ""
        return tool_service_pb2.ListToolsResponse(tools=[tool], next_page_token=following)

    async def Execute(self, request: Any, context: Any) -> AsyncIterator[tool_service_pb2.ExecuteResponse]:
        raise NotImplementedError
        yield

    async def ExecuteMany(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[tool_service_pb2.ExecuteManyResponse]:
        self.running += 1
        try:
            async for request in request_iterator:
                self.arguments.append(request.call.arguments)
                self.calls.append(request.call)
                async for event in self._run(request.call):
                    yield tool_service_pb2.ExecuteManyResponse(event=event)
        finally:
            self.running -= 1
            self.ended.set()

    async def _look(self) -> None:
        async with McpClient(self.dials) as client:
            await client.call_tool("wait", {})

    async def _run(self, call: execution_pb2.ToolInvocation) -> AsyncIterator[execution_pb2.ToolEvent]:
        yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=1, started={"tool": call.tool})
        self.started.set()
        if self.breaks_off:
            return
        if call.tool == "slow":
            await (self._look() if self.dials else asyncio.Event().wait())
        progress = execution_pb2.ToolProgress(fraction=0.5, message="half")
        yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=2, progress=progress)
        if call.tool == "broken":
            error = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="It broke.")
            yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=3, error=error)
            return
        result = execution_pb2.ToolResult(content='{"result":391}')
        yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=3, result=result)


@dataclass
class ToolsProcess:
    """A running scripted tools service."""

    service: ScriptedToolService
    server: RpcServer
    port: int


@pytest.fixture
async def tools_process(identity: Identity, tokens: TokenMaker) -> AsyncIterator[ToolsProcess]:
    service = ScriptedToolService()
    server = RpcServer(settings_for(identity("tools")), tokens.verifier())
    server.add(add_ToolServiceServicer_to_server, service)
    port = await server.start()
    yield ToolsProcess(service, server, port)
    await server.stop()


@pytest.fixture
async def tools_stub(identity: Identity, tools_process: ToolsProcess) -> AsyncIterator[Any]:
    address = f"127.0.0.1:{tools_process.port}"
    async with open_channel(
        address, tls=identity("inference"), service="tools", trust_domain="parley.local"
    ) as channel:
        yield ToolServiceStub(channel)


@dataclass
class InferenceProcess:
    """A running inference service with its parts."""

    models: Models
    directory: ModelDirectory
    runs: RunRegistry
    server: RpcServer
    stub: Any
    conversations: Any
    mailbox: StoreMailbox
    catalogue: Catalogue
    port: int
    rollouts: Any
    adapters: Any
    pool: AdapterPool
    engine: Engine | None = None
    channels: list[grpc.aio.Channel] = field(default_factory=list)


Replica = Callable[..., Any]


def as_edge(tls: TlsFiles, port: int) -> RotatingChannel:
    """A channel to a replica, as the edge opens it."""
    return open_channel(f"127.0.0.1:{port}", tls=tls, service="inference", trust_domain="parley.local")


@pytest.fixture
def replica(identity: Identity, tokens: TokenMaker, tools_stub: Any, store: Redis) -> Replica:
    """Starts an inference service with this engine: `async with replica(engine) as process`."""

    @asynccontextmanager
    async def start(
        engine: Engine | Embedder | None,
        limits: LimitSource | None = None,
        verifier: Verifier | None = None,
        revocations: Revocations | None = None,
        ledger_url: str = "",
        run_tokens: RunTokens | None = None,
        idle_seconds: float = 60.0,
        audit: AuditSink | None = None,
        library: ConversationLibrary | None = None,
        seats: Seats | None = None,
        cache: TurnCache | None = None,
        bounds: Bounds | None = None,
        journal_url: str = "",
        coalescing: Coalescing | None = None,
        reader_seconds: float = 60.0,
        rollouts: RolloutLibrary | None = None,
        tracer: Tracer | None = None,
        shelf: Shelf | None = None,
    ) -> AsyncIterator[InferenceProcess]:
        models, runs = Models("scripted", "another"), RunRegistry()
        heeded = Revocations(synchronized=True) if revocations is None else revocations
        door = Door(seats or Seats(1000, max_waiting=1000), WEIGHTS)
        if engine is not None:
            seated = engine if isinstance(engine, Embedder) else SeatedEngine(engine, door)
            models.ready("scripted", seated)
        mailbox = StoreMailbox(store, runs, answer_seconds=5)
        catalogue = Catalogue(tools_stub)
        server = RpcServer(
            settings_for(identity("inference")),
            verifier or tokens.verifier(),
            revocations=heeded,
            audit=audit,
            tracer=tracer,
        )
        toolbox = RemoteToolbox(tools_stub, catalogue)
        counts = open_store(ledger_url) if ledger_url else store
        admission = Admission(Ledger(counts), limits or NoLimits(), service="inference.parley", life=LEASES)
        continuing = Continuing(library)
        pages, directory = PageTokens(), ModelDirectory(models)
        async with AsyncExitStack() as stack:
            opened = open_rollouts(rollouts, models, directory, pages, store, audit)
            rolled_out, rollout_servicer = await stack.enter_async_context(opened)
            answering = Answering(
                models,
                runs,
                toolbox,
                admission,
                run_tokens or OwnTokens(),
                continuing,
                door,
                cache,
                coalescing,
                reader_seconds,
                rolled_out,
            )
            kept = open_store(journal_url) if journal_url else store
            resumption = Resumption(
                answering, Journal(kept), mailbox, heeded, server.stopping, bounds or Bounds(grace_seconds=1)
            )
            converse = partial(ConverseStream, answering, server.stopping, idle_seconds=idle_seconds)
            embedding = Embedding(models, admission)
            parts = models, directory, runs, mailbox, pages, embedding, cache
            servicer = InferenceServicer(answering, resumption, converse, *parts)
            server.add(add_InferenceServiceServicer_to_server, servicer)
            server.add(add_ConversationServiceServicer_to_server, ConversationServicer(library, pages))
            server.add(add_RolloutServiceServicer_to_server, rollout_servicer)
            adapters = AdapterPool("scripted", models, shelf, Wishes(store, "scripted"))
            server.add(add_AdapterServiceServicer_to_server, AdapterServicer(models, adapters, pages))
            if counts is not store:
                stack.push_async_callback(counts.aclose)
            if kept is not store:
                stack.push_async_callback(kept.aclose)
            await stack.enter_async_context(admission.keeping())
            await stack.enter_async_context(resumption.keeping())
            await stack.enter_async_context(mailbox.listening())
            await asyncio.wait_for(mailbox.wait_until_listening(), 5)
            if cache is not None:
                await stack.enter_async_context(cache.sharing())
            port = await server.start()
            stack.push_async_callback(server.stop)
            channel = await stack.enter_async_context(as_edge(identity("edge"), port))
            stubs = InferenceServiceStub(channel), ConversationServiceStub(channel)
            rolling_out = RolloutServiceStub(channel)
            adapting = AdapterServiceStub(channel)
            yield InferenceProcess(
                *(models, directory, runs, server, *stubs, mailbox, catalogue, port, rolling_out),
                *(adapting, adapters, engine),
            )

    return start
