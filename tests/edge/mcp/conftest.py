"""The tools behind the real edge, with keys of the real auth service, and the SDK's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from cli.local.preflight import free_port
from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.tools.v1.mcp_endpoint_service_pb2_grpc import add_McpEndpointServiceServicer_to_server
from services.auth.__main__ import serving
from services.auth.settings import AuthSettings
from services.rpc.channel import open_channel
from services.rpc.pages import PageTokens
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.verifier import JwksVerifier, remote_keys
from services.tools.builtin import math
from services.tools.call_stream import StreamLimits
from services.tools.catalogue import Arguments, Catalogue, Category, LoopCall, SafetyLevel, ToolResult, tool
from services.tools.events import Output, Progress
from services.tools.mcp.endpoint import McpEndpointServicer
from services.tools.mcp.offered import Offer
from services.tools.metering import Door
from services.tools.runner import Runner
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from services.tools.workspace import Workspaces
from tests.auth.conftest import CHEAP, TRUST_DOMAIN
from tests.edge.conftest import Identity, edge_settings
from tests.edge.front import Front, front
from tests.edge.toys import ToldRefusals

SECONDS = 30
MAX_ARGUMENT_BYTES = 2**16
ACCEPT = {"accept": "application/json, text/event-stream"}


class Nothing(Arguments):
    """No arguments."""


class Done(ToolResult):
    done: bool = True


class Patience:
    """A tool that waits for ever, and tells when it began and when it was ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

        @tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS)
        async def patient(_arguments: Nothing, call: LoopCall) -> Done:
            """Waits."""
            await call.report(Progress("waiting"))
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
            return Done()

        self.tool = patient


@tool(category=Category.UTILITY, safety=SafetyLevel.RESTRICTED, timeout_seconds=SECONDS)
async def stepping(_arguments: Nothing, call: LoopCall) -> Done:
    """Goes step by step."""
    await call.report(Progress("half", 0.5))
    await call.report(Progress("back", 0.25))
    await call.report(Output("some output"))
    await call.report(Progress("whole", 1.0))
    return Done()


@tool(category=Category.UTILITY, safety=SafetyLevel.DANGEROUS, timeout_seconds=SECONDS)
async def broken(_arguments: Nothing, _call: LoopCall) -> Done:
    """Fails as programs do."""
    raise RuntimeError("the password is hunter2")


@tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS)
async def switched_off(_arguments: Nothing, _call: LoopCall) -> Done:
    """Cannot be called here."""
    return Done()


OFF = replace(switched_off, unavailable="it needs what is not here")


@dataclass
class House:
    """The edge, and what stands behind it.

    Attributes:
        edge: The edge.
        keys: Secrets of API keys: one for all tools, one for the calculator, one that lists only.
        token: An access token of the administrator.
        patience: The tool that waits.
        audit: What the tools service tells the audit.
        runner: What runs the tools.
    """

    edge: Front
    keys: dict[str, str]
    token: str
    patience: Patience
    audit: ToldRefusals
    runner: Runner

    @asynccontextmanager
    async def client(self, key: str = "all", mode: str = "auto") -> AsyncIterator[Client]:
        """The SDK's client with an API key."""
        headers = {"x-api-key": self.keys[key]}
        async with httpx2.AsyncClient(headers=headers, verify=self.edge.tls(), timeout=SECONDS) as http:
            transport = streamable_http_client(f"{self.edge.url}/mcp", http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client

    async def post(self, content: bytes | str, **headers: str) -> Any:
        """One POST with a good key, whatever its body."""
        async with self.edge.http() as http:
            every = {"x-api-key": self.keys["all"], "content-type": "application/json", **ACCEPT, **headers}
            return await http.post("/mcp", content=content, headers=every)


@asynccontextmanager
async def workers_at(folder: Path, modules: list[str]) -> AsyncIterator[WorkerPool]:
    workspaces = Workspaces(folder / "workspaces", None)
    workspaces.check()
    workers = WorkerPool(workspaces, modules, 1)
    try:
        yield workers
    finally:
        await workers.stop()


def tools_server(identity: Identity, keys: Any, audit: ToldRefusals) -> RpcServer:
    files = identity("tools")
    settings = ServiceSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        drain_seconds=0,
        grace_seconds=0,
    )
    verifier = JwksVerifier(remote_keys(keys), issuer=settings.token_issuer, audience=settings.token_audience)
    return RpcServer(settings, verifier, audit=audit)


async def make_keys(channel: grpc.aio.Channel, token: str) -> dict[str, str]:
    call, tools = "tools.execute", "tools.list"
    scopes = {
        "all": ["tools.*"],
        "calculator": [tools, call, "tools.math.calculator"],
        "reader": [tools, "tools.math.calculator"],
        "stranger": ["inference.chat"],
    }
    made = {}
    for name, wanted in scopes.items():
        request = key_service_pb2.CreateKeyRequest(name=name, scopes=wanted)
        metadata = (("authorization", f"Bearer {token}"),)
        made[name] = (await KeyServiceStub(channel).CreateKey(request, metadata=metadata)).secret
    return made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder, files = tmp_path_factory.mktemp("mcp"), identity("auth")
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
    patience, audit = Patience(), ToldRefusals()
    catalogue = Catalogue((*math.TOOLS, patience.tool, stepping, broken, OFF))
    async with AsyncExitStack() as stack:
        _, port = await stack.enter_async_context(serving(settings))
        auth = f"127.0.0.1:{port}"
        keys = open_channel(auth, tls=identity("tools"), service="auth", trust_domain=TRUST_DOMAIN)
        stack.push_async_callback(keys.close)
        workers = await stack.enter_async_context(workers_at(folder, catalogue.worker_modules))
        turns = Turns(running=16, running_per_caller=16, waiting_per_caller=16)
        runner = Runner(catalogue, workers, turns, max_argument_bytes=MAX_ARGUMENT_BYTES)
        limits = StreamLimits(running=1, open=1, total=1)
        offer = Offer(catalogue, runner, limits, PageTokens(), Door(None))
        server = tools_server(identity, keys, audit)
        endpoint = McpEndpointServicer(offer, max_argument_bytes=MAX_ARGUMENT_BYTES)
        server.add(add_McpEndpointServiceServicer_to_server, endpoint)
        address = f"127.0.0.1:{await server.start()}"
        stack.push_async_callback(server.stop)
        await server.set_serving(True)
        told = edge_settings(
            identity("edge"),
            folder,
            listen_address=f"127.0.0.1:{free_port()}",
            auth_addresses=[auth],
            tools_addresses=[address],
        )
        edge = await stack.enter_async_context(front(told, folder))
        channel = await stack.enter_async_context(edge.channel())
        password = (folder / "auth" / "admin-password").read_text().strip()
        login = session_service_pb2.LoginRequest(username="admin", password=password)
        token = (await SessionServiceStub(channel).Login(login)).tokens.access_token
        yield House(edge, await make_keys(channel, token), token, patience, audit, runner)
