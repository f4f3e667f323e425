"""An inference service over mTLS, put together as its process does, around any engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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
from services.inference.adapters.pool import AdapterPool
from services.inference.adapters.servicer import AdapterServicer
from services.inference.adapters.shelf import Shelf
from services.inference.adapters.wishes import Wishes
from services.inference.calling.catalogue import Catalogue
from services.inference.calling.run_tokens import OwnTokens, RunTokens
from services.inference.calling.tool_calls import RemoteToolbox
from services.inference.conversations.continuing import Continuing
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.servicer import ConversationServicer
from services.inference.converse_stream import ConverseStream
from services.inference.embedding import Embedding
from services.inference.engine.embedder import Embedder
from services.inference.engine.port import Engine
from services.inference.models import Models
from services.inference.replicas.directory import ModelDirectory
from services.inference.replicas.mailbox import StoreMailbox
from services.inference.resumption.journal import Journal
from services.inference.resumption.resumption import Resumption
from services.inference.resumption.tape import Bounds
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.room import open_rollouts
from services.inference.runs.answering import Answering
from services.inference.runs.coalescing import Coalescing
from services.inference.runs.registry import RunRegistry
from services.inference.seating.seated_engine import SeatedEngine
from services.inference.seating.seats import Door, Seats
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings
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
Replica = Callable[..., Any]


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
    engine: Any = None


def as_edge(tls: TlsFiles, port: int) -> RotatingChannel:
    """A channel to a replica, as the edge opens it."""
    return open_channel(f"127.0.0.1:{port}", tls=tls, service="inference", trust_domain="parley.local")


@dataclass(frozen=True)
class Surroundings:
    """What replicas have in common."""

    identity: Identity
    tokens: TokenMaker
    tools_stub: Any
    store: Redis


@dataclass(frozen=True)
class Options:
    """What a replica may have of its own."""

    limits: LimitSource = field(default_factory=NoLimits)
    verifier: Verifier | None = None
    revocations: Revocations = field(default_factory=lambda: Revocations(synchronized=True))
    ledger_url: str = ""
    run_tokens: RunTokens = field(default_factory=OwnTokens)
    idle_seconds: float = 60.0
    audit: AuditSink | None = None
    library: ConversationLibrary | None = None
    seats: Seats = field(default_factory=lambda: Seats(1000, max_waiting=1000))
    cache: TurnCache | None = None
    bounds: Bounds = field(default_factory=lambda: Bounds(grace_seconds=1))
    journal_url: str = ""
    coalescing: Coalescing | None = None
    reader_seconds: float = 60.0
    rollouts: RolloutLibrary | None = None
    tracer: Tracer | None = None
    shelf: Shelf | None = None
    serves: tuple[str, ...] = ("scripted", "another")


class Parts:
    """The parts of a replica; those that live are entered on `stack`."""

    def __init__(
        self,
        around: Surroundings,
        engine: Engine | Embedder | None,
        options: Options,
        stack: AsyncExitStack,
    ) -> None:
        self._around, self._engine, self._options, self._stack = around, engine, options, stack
        model = options.serves[0]
        self.models, self.runs = Models(*options.serves), RunRegistry()
        self.directory, self.pages = ModelDirectory(self.models), PageTokens()
        self.door = Door(options.seats, WEIGHTS)
        self.mailbox = StoreMailbox(around.store, self.runs, answer_seconds=5)
        self.catalogue = Catalogue(around.tools_stub)
        self.adapters = AdapterPool(model, self.models, options.shelf, Wishes(around.store, model))
        self.server = RpcServer(
            settings_for(around.identity("inference")),
            options.verifier or around.tokens.verifier(),
            revocations=options.revocations,
            audit=options.audit,
            tracer=options.tracer,
        )
        if engine is not None:
            seated = engine if isinstance(engine, Embedder) else SeatedEngine(engine, self.door)
            self.models.ready(model, seated)

    async def start(self) -> InferenceProcess:
        """Put it together and let it serve."""
        admission = self._admission()
        answering = await self._answering(admission)
        resumption = self._resumption(answering)
        self._serve(answering, resumption, Embedding(self.models, admission))
        await self._stack.enter_async_context(admission.keeping())
        await self._stack.enter_async_context(resumption.keeping())
        await self._stack.enter_async_context(self.mailbox.listening())
        await asyncio.wait_for(self.mailbox.wait_until_listening(), 5)
        if self._options.cache is not None:
            await self._stack.enter_async_context(self._options.cache.sharing())
        port = await self.server.start()
        self._stack.push_async_callback(self.server.stop)
        channel = as_edge(self._around.identity("edge"), port)
        return self._process(await self._stack.enter_async_context(channel), port)

    def _store_at(self, url: str) -> Redis:
        """A store of its own, or the one that all have."""
        if not url:
            return self._around.store
        store = open_store(url)
        self._stack.push_async_callback(store.aclose)
        return store

    def _admission(self) -> Admission:
        ledger = Ledger(self._store_at(self._options.ledger_url))
        return Admission(ledger, self._options.limits, service="inference.parley", life=LEASES)

    async def _answering(self, admission: Admission) -> Answering:
        """With the rollouts that it looks at, whose service it adds."""
        options, store = self._options, self._around.store
        opened = open_rollouts(
            options.rollouts, self.models, self.directory, self.pages, store, options.audit
        )
        rolled_out, servicer = await self._stack.enter_async_context(opened)
        self.server.add(add_RolloutServiceServicer_to_server, servicer)
        return Answering(
            self.models,
            self.runs,
            RemoteToolbox(self._around.tools_stub, self.catalogue),
            admission,
            options.run_tokens,
            Continuing(options.library),
            self.door,
            options.cache,
            options.coalescing,
            options.reader_seconds,
            rolled_out,
        )

    def _resumption(self, answering: Answering) -> Resumption:
        journal, options = Journal(self._store_at(self._options.journal_url)), self._options
        stopping = self.server.stopping
        return Resumption(answering, journal, self.mailbox, options.revocations, stopping, options.bounds)

    def _serve(self, answering: Answering, resumption: Resumption, embedding: Embedding) -> None:
        """Add the other services."""
        options, server = self._options, self.server
        converse = partial(ConverseStream, answering, server.stopping, idle_seconds=options.idle_seconds)
        parts = self.models, self.directory, self.runs, self.mailbox, self.pages, embedding, options.cache
        servicer = InferenceServicer(answering, resumption, converse, *parts)
        conversations = ConversationServicer(options.library, self.pages)
        adapters = AdapterServicer(self.models, self.adapters, self.pages)
        server.add(add_InferenceServiceServicer_to_server, servicer)
        server.add(add_ConversationServiceServicer_to_server, conversations)
        server.add(add_AdapterServiceServicer_to_server, adapters)

    def _process(self, channel: RotatingChannel, port: int) -> InferenceProcess:
        return InferenceProcess(
            models=self.models,
            directory=self.directory,
            runs=self.runs,
            server=self.server,
            stub=InferenceServiceStub(channel),
            conversations=ConversationServiceStub(channel),
            mailbox=self.mailbox,
            catalogue=self.catalogue,
            port=port,
            rollouts=RolloutServiceStub(channel),
            adapters=AdapterServiceStub(channel),
            pool=self.adapters,
            engine=self._engine,
        )


@asynccontextmanager
async def running_replica(
    around: Surroundings, engine: Engine | Embedder | None, options: Options
) -> AsyncIterator[InferenceProcess]:
    """A replica with this engine, until the block's end; None for one whose engine is not there yet."""
    async with AsyncExitStack() as stack:
        yield await Parts(around, engine, options, stack).start()
