"""The tools service: `python -m services.tools`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceStub
from parley.auth.v1.token_service_pb2_grpc import TokenServiceStub
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1.mcp_endpoint_service_pb2_grpc import add_McpEndpointServiceServicer_to_server
from parley.tools.v1.mcp_service_pb2_grpc import add_McpServiceServicer_to_server
from parley.tools.v1.tool_service_pb2_grpc import add_ToolServiceServicer_to_server
from parley.tools.v1.workspace_service_pb2_grpc import add_WorkspaceServiceServicer_to_server
from services.ledger.admission import Admission
from services.ledger.ledger import Ledger, open_store
from services.ledger.remote_limits import RemoteLimits
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
from services.tools.addresses import Resolver, SystemResolver
from services.tools.builtin import utility
from services.tools.builtin.database.sources import sources_from, sqlite_paths
from services.tools.builtin.database.toolset import database_tools
from services.tools.builtin.llm_chat import llm_chat_tool
from services.tools.builtin.python.toolset import sandbox_tools
from services.tools.builtin.rooms import BUILT_IN
from services.tools.builtin.system import shown_variables, system_tools
from services.tools.builtin.web.toolset import web_tools
from services.tools.call_stream import StreamLimits
from services.tools.catalogue import Catalogue, Tool
from services.tools.fence import Fence, why_no_fence
from services.tools.mcp.endpoint import McpEndpointServicer
from services.tools.mcp.offered import Offer
from services.tools.mcp.reach import Reach
from services.tools.mcp.servers import McpServers
from services.tools.mcp.servicer import McpServicer
from services.tools.mcp.state import StateFile, StateUnusable
from services.tools.metering import Door
from services.tools.nested_chats import NestedChats
from services.tools.plugins import PluginUnusable, installed, plugin_tools
from services.tools.replays import Replays
from services.tools.room import WorkspaceLimits
from services.tools.runner import Runner
from services.tools.servicer import ToolServicer
from services.tools.settings import ToolsSettings
from services.tools.turns import Turns
from services.tools.workers import WorkerPool, WorkerUnusable
from services.tools.workspace import Workspaces, WorkspaceUnusable
from services.tools.workspace_servicer import WorkspaceServicer

if TYPE_CHECKING:
    # The stub as grpc.aio makes it; it exists for type checkers alone.
    from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub

LEDGER_HEALTH = "parley.ledger"
MCP_HEALTH = "parley.mcp"
MCP_STATE = Path(".mcp", "servers.json")
"""Beside the workspaces, whose folders have no such names."""

EXIT_FAILED = 1
EXIT_SETTINGS = 2

_log = structlog.get_logger("parley.tools")

_TALKATIVE = ("mcp", "httpx2")
"""Libraries that log a line per request at the level of our own notices."""


async def serve(settings: ToolsSettings, resolve: Resolver | None = None) -> None:
    """Build the service, serve until told to stop, take everything down again.

    Args:
        settings: What the service is told.
        resolve: Finds the addresses of names that tools dial; default: the machine's resolver.
    """
    async with tracing(settings, "tools") as tracer, AsyncExitStack() as stack:
        serve_metrics(settings.metrics_address)
        channel = open_channel(
            settings.auth_address, tls=settings.tls, service="auth", trust_domain=settings.trust_domain
        )
        stack.push_async_callback(channel.close)
        issuer, audience = settings.token_issuer, settings.token_audience
        verifier = JwksVerifier(remote_keys(channel), issuer=issuer, audience=audience, services=("tools",))
        system = SystemResolver()
        stack.callback(system.close)
        sources = sources_from(settings)
        stack.push_async_callback(sources.close)
        workspaces = Workspaces(settings.workspace_path.absolute(), _absolute(settings), _limits(settings))
        await asyncio.to_thread(workspaces.check)
        chats = await stack.enter_async_context(_nested_chats(settings, channel))
        outside = (*web_tools(settings, resolve or system), *database_tools(sources), llm_chat_tool(chats))
        inside = (*await sandbox_tools(settings, workspaces), *_system_tools(settings, workspaces))
        own = (*BUILT_IN, *outside, *inside)
        catalogue = Catalogue((*own, *plugin_tools(installed(), {entry.name for entry in own})))
        fence = _fence(settings, workspaces)
        workers = WorkerPool(workspaces, catalogue.worker_modules, settings.workers, fence=fence)
        stack.push_async_callback(workers.stop)
        revocations = Revocations()
        audit = await stack.enter_async_context(told_to_auth(channel, settings))
        server = RpcServer(settings, verifier, revocations=revocations, audit=audit, tracer=tracer)
        await stack.enter_async_context(RevocationFeed(channel, revocations, server.report).following())
        door = await stack.enter_async_context(_door(settings, channel, server))
        offer = _offer(settings, catalogue, workers, door)
        server.add(add_ToolServiceServicer_to_server, _servicer(offer))
        endpoint = McpEndpointServicer(offer, max_argument_bytes=settings.max_argument_bytes)
        server.add(add_McpEndpointServiceServicer_to_server, endpoint)
        files = WorkspaceServicer(workspaces, PageTokens())
        server.add(add_WorkspaceServiceServicer_to_server, files)
        servers = _mcp_servers(settings, catalogue, Reach.of(settings, resolve or system), server)
        await stack.enter_async_context(servers.running())
        server.add(add_McpServiceServicer_to_server, McpServicer(servers, PageTokens()))
        await asyncio.to_thread(utility.zone_names)  # Reads hundreds of files; later calls only look up.
        await server.start()
        stack.push_async_callback(server.stop)
        await workers.start()
        await server.set_serving(True)
        await server.serve_until_stopped()


@asynccontextmanager
async def _door(settings: ToolsSettings, auth: RotatingChannel, server: RpcServer) -> AsyncIterator[Door]:
    """What counts direct calls, until the block's end; its store shows in the server's health."""
    url = settings.store_url.get_secret_value()
    if not url:
        yield Door(None)
        return
    async with open_store(url) as store:
        limits = RemoteLimits(QuotaServiceStub(auth))
        admission = Admission(Ledger(store), limits, service="tools.parley")

        async def report(answers: bool) -> None:
            await server.report(LEDGER_HEALTH, answers=answers)

        async with admission.keeping(report):
            yield Door(admission)


@asynccontextmanager
async def _nested_chats(settings: ToolsSettings, auth: RotatingChannel) -> AsyncIterator[NestedChats | None]:
    """What asks models for tools, until the block's end; None where there are none to ask."""
    if not settings.inference_address:
        yield None
        return
    async with AsyncExitStack() as stack:

        async def asked_at(address: str) -> InferenceServiceAsyncStub:
            channel = open_channel(
                address, tls=settings.tls, service="inference", trust_domain=settings.trust_domain
            )
            return InferenceServiceStub(await stack.enter_async_context(channel))

        pools = {name: await asked_at(address) for name, address in settings.inference_pools.items()}
        yield NestedChats(await asked_at(settings.inference_address), TokenServiceStub(auth), pools)


def _offer(settings: ToolsSettings, catalogue: Catalogue, workers: WorkerPool, door: Door) -> Offer:
    turns = Turns(
        running=settings.running_calls,
        running_per_caller=settings.running_calls_per_caller,
        waiting_per_caller=settings.waiting_calls_per_caller,
    )
    turns_apart = Turns(
        running=settings.nested_chats,
        running_per_caller=settings.nested_chats_per_caller,
        waiting_per_caller=settings.waiting_calls_per_caller,
    )
    limits = StreamLimits(
        running=settings.running_calls_per_stream,
        open=settings.open_calls_per_stream,
        total=settings.total_calls_per_stream,
    )
    replays = Replays(
        seconds=settings.replay_seconds,
        total_bytes=settings.replay_bytes,
        bytes_per_caller=settings.replay_bytes_per_caller,
    )
    runner = Runner(
        catalogue,
        workers,
        turns,
        max_argument_bytes=settings.max_argument_bytes,
        replays=replays,
        turns_apart=turns_apart,
    )
    return Offer(catalogue, runner, limits, PageTokens(), door)


def _mcp_servers(
    settings: ToolsSettings, catalogue: Catalogue, reach: Reach, server: RpcServer
) -> McpServers:
    """The outside MCP servers; whether all are ready shows in the server's health."""
    path = settings.mcp_state_path or settings.workspace_path / MCP_STATE

    async def report(answers: bool) -> None:
        await server.report(MCP_HEALTH, answers=answers)

    return McpServers(
        catalogue,
        reach,
        settings.mcp_servers,
        StateFile(path.absolute()),
        report,
        max_servers=settings.mcp_max_servers,
        max_tools=settings.mcp_max_tools,
    )


def _fence(settings: ToolsSettings, workspaces: Workspaces) -> Fence | None:
    """What workers may reach; None where nothing holds them.

    Raises:
        WorkerUnusable: The settings want it, and this machine cannot.
    """
    if settings.worker_fence == "off":
        return None
    if why := why_no_fence():
        if settings.worker_fence == "landlock":
            raise WorkerUnusable(
                f"the setting PARLEY_TOOLS_WORKER_FENCE wants what there is not here ({why})"
            )
        _log.warning("workers have no fence", why=why)
        return None
    seeds = (workspaces.template,) if workspaces.template else ()
    # SQLite makes its journals beside its files.
    changed = (workspaces.root, *(path.absolute().parent for path in sqlite_paths(settings)))
    read = (*seeds, *(path.absolute() for path in settings.worker_readable_paths))
    return Fence(tuple(map(str, changed)), tuple(map(str, read)))


def _servicer(offer: Offer) -> ToolServicer:
    return ToolServicer(offer.catalogue, offer.runner, offer.limits, offer.page_tokens, offer.door)


def _system_tools(settings: ToolsSettings, workspaces: Workspaces) -> tuple[Tool, ...]:
    return system_tools(workspaces, shown_variables(os.environ, settings.shown_variables))


def _limits(settings: ToolsSettings) -> WorkspaceLimits:
    return WorkspaceLimits(settings.workspace_max_bytes, settings.workspace_max_entries)


def _absolute(settings: ToolsSettings) -> Path | None:
    template = settings.workspace_template_path
    return template.absolute() if template else None


def main() -> int:
    """Run the service.

    Returns:
        The exit code: 0 after a stop, 1 where it cannot serve, 2 for wrong settings.
    """
    try:
        settings = load(ToolsSettings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_SETTINGS
    os.umask(0o077)  # Workspaces are nobody's but their owners'.
    configure_logging("tools", settings.log_level)
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        run(lambda: serve(settings))
    except (OSError, PluginUnusable, StateUnusable, WorkspaceUnusable, WorkerUnusable) as error:
        print(f"tools cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
