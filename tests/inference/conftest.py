"""A store, a scripted tools service on its real contract, and inference services over mTLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from redis.asyncio import Redis

from parley.tools.v1.tool_service_pb2_grpc import (
    ToolServiceStub,
    add_ToolServiceServicer_to_server,
)
from services.inference.engine.embedder import Embedder
from services.inference.engine.port import Engine
from services.ledger.ledger import open_store
from services.ledger.remote_limits import LimitSource
from services.rpc.channel import open_channel
from services.rpc.server import RpcServer
from tests.conftest import TokenMaker
from tests.inference.replicas import (
    Identity,
    InferenceProcess,
    Options,
    Replica,
    Surroundings,
    running_replica,
    settings_for,
)
from tests.inference.scripted import NoLimits
from tests.inference.scripted_tools import ScriptedToolService, ToolsProcess


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    async with open_store(store_url) as client:
        yield client


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


@pytest.fixture
def replica(identity: Identity, tokens: TokenMaker, tools_stub: Any, store: Redis) -> Replica:
    """Starts an inference service with this engine: `async with replica(engine, **options) as process`."""
    around = Surroundings(identity, tokens, tools_stub, store)

    def start(
        engine: Engine | Embedder | None, limits: LimitSource | None = None, **options: Any
    ) -> AbstractAsyncContextManager[InferenceProcess]:
        return running_replica(around, engine, Options(limits or NoLimits(), **options))

    return start
