"""The inference service's process: `python -m services.inference`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import psutil
from redis.asyncio import Redis

from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceStub
from parley.auth.v1.token_service_pb2_grpc import TokenServiceStub
from parley.inference.v1.adapter_service_pb2_grpc import add_AdapterServiceServicer_to_server
from parley.inference.v1.conversation_service_pb2_grpc import add_ConversationServiceServicer_to_server
from parley.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from parley.inference.v1.openai_service_pb2_grpc import add_OpenAIServiceServicer_to_server
from parley.inference.v1.rollout_service_pb2_grpc import add_RolloutServiceServicer_to_server
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from services.inference.adapters.base_model import base_shapes
from services.inference.adapters.pool import AdapterPool
from services.inference.adapters.servicer import AdapterServicer
from services.inference.adapters.shelf import Shelf
from services.inference.adapters.wishes import Wishes
from services.inference.calling.catalogue import Catalogue
from services.inference.calling.run_tokens import ExchangedTokens
from services.inference.calling.tool_calls import RemoteToolbox
from services.inference.conversations.continuing import Continuing
from services.inference.conversations.servicer import ConversationServicer
from services.inference.converse_stream import ConverseStream
from services.inference.embedding import Embedding
from services.inference.engine.embedder import Embedder
from services.inference.engine.port import Engine
from services.inference.lifecycle import EngineDiedError, ModelLife
from services.inference.models import Models
from services.inference.openai_compat.servicer import OpenAIServicer
from services.inference.page_key import shared_page_key
from services.inference.preflight import StartError, check_model
from services.inference.replicas.directory import ModelDirectory
from services.inference.replicas.mailbox import StoreMailbox
from services.inference.resumption.journal import Journal
from services.inference.resumption.resumption import Resumption
from services.inference.rollouts.room import open_rollouts
from services.inference.runs.answering import Answering
from services.inference.runs.coalescing import Coalescing
from services.inference.runs.registry import RunRegistry
from services.inference.seating.seated_engine import SeatedEngine
from services.inference.seating.seats import Door, Seats
from services.inference.servicer import InferenceServicer
from services.inference.settings import EngineSettings, InferenceSettings
from services.inference.stored import stored
from services.inference.turn_cache.cache import TurnCache
from services.ledger.admission import Admission
from services.ledger.ledger import Ledger, open_store
from services.ledger.remote_limits import RemoteLimits
from services.ledger.traced_store import TracedStore
from services.rpc.audit import told_to_auth
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.pages import PageTokens
from services.rpc.revocation_feed import RevocationFeed
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer, run
from services.rpc.settings import SettingsError, load
from services.rpc.telemetry import configure_logging, serve_metrics
from services.rpc.trace_export import tracing
from services.rpc.verifier import JwksVerifier, remote_keys

CHILD_SECONDS = 1.0
LEDGER_HEALTH = "parley.ledger"


async def main() -> None:
    """Build, serve and close, in that order."""
    settings = load(InferenceSettings)
    _prepare(settings)
    async with tracing(settings, "inference") as tracer, AsyncExitStack() as stack:
        stack.callback(end_children)
        serve_metrics(settings.metrics_address)
        models, runs = Models(settings.served_name), RunRegistry()
        store = TracedStore.from_url(settings.store_url.get_secret_value())
        stack.push_async_callback(store.aclose)
        mailbox = StoreMailbox(store, runs)
        await stack.enter_async_context(mailbox.listening())
        auth = await stack.enter_async_context(_channel(settings, "auth", settings.auth_address))
        tools = await stack.enter_async_context(_channel(settings, "tools", settings.tools_address))
        revocations = Revocations()
        audit = await stack.enter_async_context(told_to_auth(auth, settings))
        verifier = _verifier(settings, auth)
        server = RpcServer(settings, verifier, revocations=revocations, audit=audit, tracer=tracer)
        await stack.enter_async_context(RevocationFeed(auth, revocations, server.report).following())
        admission = await stack.enter_async_context(_admission(settings, auth, server))
        seats, door = _entrance(settings)
        kept = await stack.enter_async_context(open_store(settings.store_url.get_secret_value()))
        directory = await stack.enter_async_context(ModelDirectory(models).keeping(kept))
        library, kept_rollouts = await stack.enter_async_context(stored(settings.database_url))
        pages = PageTokens(await shared_page_key(kept))
        opened = open_rollouts(kept_rollouts, models, directory, pages, kept, audit)
        rollouts, rollout_servicer = await stack.enter_async_context(opened)
        cache = await stack.enter_async_context(_cache(settings))
        run_tokens, continuing = ExchangedTokens(TokenServiceStub(auth)), Continuing(library)
        rest = door, cache, Coalescing(settings.gathering), settings.reader_seconds, rollouts
        answering = Answering(models, runs, _toolbox(tools), admission, run_tokens, continuing, *rest)
        journal, bounds = Journal(kept), settings.resume_bounds
        resumption = Resumption(answering, journal, mailbox, revocations, server.stopping, bounds)
        await stack.enter_async_context(resumption.keeping())
        converse = partial(ConverseStream, answering, server.stopping)
        embedding = Embedding(models, admission)
        parts = models, directory, runs, mailbox, pages, embedding, cache
        inference = InferenceServicer(answering, resumption, converse, *parts)
        server.add(add_InferenceServiceServicer_to_server, inference)
        openai = OpenAIServicer(answering, models, directory, embedding)
        server.add(add_OpenAIServiceServicer_to_server, openai)
        server.add(add_ConversationServiceServicer_to_server, ConversationServicer(library, pages))
        server.add(add_RolloutServiceServicer_to_server, rollout_servicer)
        adapters = await stack.enter_async_context(_adapters(settings, models, kept, pages))
        server.add(add_AdapterServiceServicer_to_server, adapters)
        await server.start()
        stack.push_async_callback(server.stop)
        seated = partial(_seated, settings, seats, door)
        life = ModelLife(settings.served_name, seated, models, runs, server.set_serving)
        await serve(server, life, settings.load_seconds, resumption, runs)


def _prepare(settings: InferenceSettings) -> None:
    """What holds for the whole process."""
    configure_logging("inference", settings.log_level)
    if check_model(settings.model) is not None:
        # The model is here: its libraries need not look for it outside.
        os.environ["HF_HUB_OFFLINE"] = "1"


@asynccontextmanager
async def _adapters(
    settings: InferenceSettings, models: Models, store: Redis, pages: PageTokens
) -> AsyncIterator[AdapterServicer]:
    """The model's adapters, loaded and unloaded as the store says until the block's end."""
    name, folder, shelf = settings.served_name, settings.adapters_path, None
    if folder is not None:
        shelf = Shelf(folder, settings.max_adapter_bytes, partial(base_shapes, settings.model))
    pool = AdapterPool(name, models, shelf, Wishes(store, name))
    async with pool.following():
        yield AdapterServicer(models, pool, pages)


def _entrance(settings: InferenceSettings) -> tuple[Seats, Door]:
    """The seats in front of the engine, and the door to them."""
    seats = Seats(settings.max_running_requests or 1, max_waiting=settings.max_waiting_requests)
    return seats, Door(seats, settings.role_weights)


@asynccontextmanager
async def _admission(
    settings: InferenceSettings, auth: RotatingChannel, server: RpcServer
) -> AsyncIterator[Admission]:
    """The door that runs pass, open until the block's end; its store shows in the server's health."""
    async with open_store(settings.ledger) as store:
        limits = RemoteLimits(QuotaServiceStub(auth))
        admission = Admission(Ledger(store), limits, service="inference.parley", life=settings.lease_life)

        async def report(answers: bool) -> None:
            await server.report(LEDGER_HEALTH, answers=answers)

        async with admission.keeping(report):
            yield admission


@asynccontextmanager
async def _cache(settings: InferenceSettings) -> AsyncIterator[TurnCache | None]:
    """The answers that are kept and shared, until the block's end; None where nothing is."""
    url = settings.cache_url.get_secret_value()
    if not url:
        yield None
        return
    async with open_store(url) as store:
        cache = TurnCache(store, settings.cache_limits)
        async with cache.sharing():
            yield cache


async def serve(
    server: RpcServer, life: ModelLife, load_seconds: float, resumption: Resumption, runs: RunRegistry
) -> None:
    """Serve until told to stop, or until the model's life ends.

    Raises:
        StartError: The model cannot be loaded.
        EngineDiedError: Its engine died.
    """
    living = asyncio.create_task(life.run(load_seconds))
    serving = asyncio.create_task(_serve(server, resumption, runs))
    try:
        await asyncio.wait({living, serving}, return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
        await serving
    finally:
        for task in (living, serving):
            task.cancel()
        await asyncio.gather(living, serving, return_exceptions=True)


async def _serve(server: RpcServer, resumption: Resumption, runs: RunRegistry) -> None:
    """Serve until told to stop; runs without a client need the engine for as long as the others."""
    await server.serve_until_stopped(runs.until_empty)
    await resumption.drained()


async def _seated(settings: InferenceSettings, seats: Seats, door: Door) -> Engine | Embedder:
    """The engine, behind as many seats as it has slots; a model that embeds needs none.

    Raises:
        StartError: The model cannot be loaded.
    """
    engine = await load_engine(settings.engine)
    if isinstance(engine, Embedder):
        return engine
    seats.resize(engine.slots)
    return SeatedEngine(engine, door)


async def load_engine(settings: EngineSettings) -> Engine | Embedder:
    """Load the engine on a thread of its own; an abandoned load must not hold up the process's end.

    Raises:
        StartError: The model cannot be loaded.
    """
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[Engine | Embedder] = loop.create_future()

    def settle(engine: Engine | Embedder | None, error: BaseException | None) -> None:
        if loaded.done():
            return
        if engine is not None:
            loaded.set_result(engine)
        else:
            loaded.set_exception(error or StartError("The engine did not load."))

    def work() -> None:
        engine, error = None, None
        try:
            # Importing vLLM takes seconds; health must answer meanwhile.
            from services.inference.vllm.embedder import load_model

            engine = load_model(settings)
        except BaseException as raised:
            error = raised
        loop.call_soon_threadsafe(settle, engine, error)

    threading.Thread(target=work, name="load-engine", daemon=True).start()
    return await loaded


def end_children() -> None:
    """End the engine's processes, whatever state loading or serving was in."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.terminate()
    _, alive = psutil.wait_procs(children, timeout=CHILD_SECONDS)
    for child in alive:
        child.kill()


def _toolbox(tools: RotatingChannel) -> RemoteToolbox:
    stub = ToolServiceStub(tools)
    return RemoteToolbox(stub, Catalogue(stub))


def _channel(settings: InferenceSettings, service: str, address: str) -> RotatingChannel:
    return open_channel(address, tls=settings.tls, service=service, trust_domain=settings.trust_domain)


def _verifier(settings: InferenceSettings, auth: RotatingChannel) -> JwksVerifier:
    return JwksVerifier(
        remote_keys(auth),
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        services=("inference",),
    )


if __name__ == "__main__":
    try:
        run(main)
    except (SettingsError, StartError, EngineDiedError, OSError) as error:
        sys.exit(f"inference: {error}")
