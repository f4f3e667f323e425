"""The OpenAI surface behind the real edge: the real servicer and runs, on engines that follow a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from cli.local.preflight import free_port
from parley.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from parley.inference.v1.openai_service_pb2_grpc import add_OpenAIServiceServicer_to_server
from services.inference.adapters.adapted_engine import AdaptedEngine
from services.inference.adapters.port import Adapter
from services.inference.calling.run_tokens import OwnTokens
from services.inference.conversations.continuing import Continuing
from services.inference.embedding import Embedding
from services.inference.models import Models, ModelState, ServedModel
from services.inference.openai_compat.servicer import OpenAIServicer
from services.inference.replicas.directory import HASH, ModelDirectory
from services.inference.replicas.mailbox import StoreMailbox
from services.inference.resumption.journal import Journal
from services.inference.resumption.resumption import Resumption
from services.inference.runs.answering import Answering
from services.inference.runs.registry import RunRegistry
from services.inference.seating.seats import Door, Seats
from services.inference.servicer import InferenceServicer
from services.ledger.admission import Admission
from services.ledger.lease import LeaseLife
from services.ledger.ledger import Ledger, open_store
from services.rpc.pages import PageTokens
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity, edge_settings, service
from tests.edge.front import Front, front
from tests.edge.toys import GOOD_KEY, Seen, add_auth
from tests.inference.pictures import SightedEngine
from tests.inference.scripted import CARD, Line, NoLimits, ScriptedEngine, ScriptedHost, ScriptedToolbox, tool
from tests.inference.scripted_embedder import ScriptedEmbedder

MARKS = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("default"),  # what vLLM and torch say when they are imported
]
SECONDS = 240  # the first request has vLLM imported
JAVASCRIPT = Path(__file__).with_name("javascript")
LEASES = LeaseLife(slice_tokens=8, seconds=30.0)
MODEL, LARGE, EMBEDDER = "scripted", "org/Large-2", "embedder"
ADAPTED = f"{LARGE}:polite"
MAX_BODY_BYTES = 2**21

# The set-up installs that client where npm is, and says so where it is not.
collect_ignore = [] if (JAVASCRIPT / "node_modules").is_dir() else ["test_javascript.py"]


@dataclass
class Surface:
    """The edge, and three models behind it: two that chat, and one that embeds.

    Attributes:
        edge: The edge.
        engine: The engine of `scripted`, the default, which takes images.
        large: The engine of `org/Large-2`.
        toolbox: The platform's tools: `add`, `wipe`.
        limits: What callers are held to.
        runs: The runs of the default model's replica.
        tokens: Makes tokens that the edge takes.
    """

    edge: Front
    engine: SightedEngine
    large: ScriptedEngine
    toolbox: ScriptedToolbox
    limits: NoLimits
    runs: RunRegistry
    tokens: TokenMaker

    def script(self, *turns: Sequence[Line]) -> SightedEngine:
        """What the default model says next."""
        self.engine.script(*turns)
        self.engine.rendered.clear()
        self.engine.colours.clear()
        return self.engine

    def client(self, key: str = GOOD_KEY) -> AsyncOpenAI:
        """The official client with an API key."""
        http = DefaultAsyncHttpxClient(verify=self.edge.tls())
        return AsyncOpenAI(
            base_url=f"{self.edge.url}/v1", api_key=key, http_client=http, max_retries=0, timeout=SECONDS
        )

    async def post(self, path: str, content: bytes | str, **headers: str) -> httpx.Response:
        """One POST with a good key, whatever its body."""
        every = {"authorization": f"Bearer {GOOD_KEY}", "content-type": "application/json", **headers}
        async with self.edge.http() as http:
            return await http.post(path, content=content, headers=every, timeout=SECONDS)


async def adapted(engine: ScriptedEngine) -> ServedModel:
    """The model with an adapter."""
    engine.adapter_host = ScriptedHost()
    await engine.adapter_host.add(adapter := Adapter(ADAPTED, "0" * 16, 1, Path("polite")))
    served = ServedModel(ADAPTED, is_default=False, state=ModelState.READY, base_model=LARGE)
    served.engine = AdaptedEngine(engine, adapter)
    return served


async def replica(
    models: Models,
    directory: ModelDirectory,
    server: RpcServer,
    store: Any,
    surface: dict[str, Any],
) -> str:
    """Serve a pool's models; the address."""
    runs, toolbox, limits = surface["runs"], surface["toolbox"], surface["limits"]
    admission = Admission(Ledger(store), limits, service="inference.parley", life=LEASES)
    door = Door(Seats(64, max_waiting=0), {})
    answering = Answering(models, runs, toolbox, admission, OwnTokens(), Continuing(None), door)
    mailbox = StoreMailbox(store, runs)
    resumption = Resumption(
        answering, Journal(store), mailbox, Revocations(synchronized=True), server.stopping
    )
    embedding = Embedding(models, admission)
    parts = models, directory, runs, mailbox, PageTokens(), embedding
    servicer = InferenceServicer(answering, resumption, lambda: None, *parts)
    server.add(add_InferenceServiceServicer_to_server, servicer)
    openai = OpenAIServicer(answering, models, directory, embedding)
    server.add(add_OpenAIServiceServicer_to_server, openai)
    return f"127.0.0.1:{await server.start()}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def surface(
    identity: Identity, tokens: TokenMaker, store_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Surface]:
    folder: Path = tmp_path_factory.mktemp("openai")
    parts: dict[str, Any] = {
        "runs": RunRegistry(),
        "toolbox": ScriptedToolbox((tool("add"), tool("wipe"))),
        "limits": NoLimits(),
    }
    engines = {MODEL: SightedEngine(), LARGE: ScriptedEngine(card=replace(CARD, name=LARGE))}
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(store_url))
        auth = service("auth", identity, tokens)
        add_auth(auth, tokens, Seen())
        auth_address = f"127.0.0.1:{await auth.start()}"
        stack.push_async_callback(auth.stop)
        await auth.set_serving(True)
        pools, directories = {}, list[ModelDirectory]()
        for model, engine in {**engines, EMBEDDER: ScriptedEmbedder(name=EMBEDDER)}.items():
            server = service("inference", identity, tokens)
            directory = ModelDirectory(models := Models(model))
            models.ready(model, engine)
            if model == LARGE:
                models.put(await adapted(engines[LARGE]))
            pools[model] = [await replica(models, directory, server, store, parts)]
            stack.push_async_callback(server.stop)
            await server.set_serving(True)
            directories.append(directory)
        for directory in 2 * directories:  # All have told once, then all have learnt.
            await directory.exchange(store)
        settings = edge_settings(
            identity("edge"),
            folder,
            listen_address=f"127.0.0.1:{free_port()}",
            auth_addresses=[auth_address],
            models=pools,
            max_body_bytes=MAX_BODY_BYTES,
        )
        edge = await stack.enter_async_context(front(settings, folder))
        yield Surface(edge, engines[MODEL], engines[LARGE], tokens=tokens, **parts)
        await store.delete(HASH)


@pytest_asyncio.fixture(loop_scope="session")
async def client(surface: Surface) -> AsyncIterator[AsyncOpenAI]:
    async with surface.client() as client:
        yield client
