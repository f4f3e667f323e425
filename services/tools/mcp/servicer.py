"""`parley.tools.v1.McpService`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import grpc

from parley.tools.v1 import mcp_service_pb2, tool_pb2
from parley.tools.v1.mcp_service_pb2_grpc import McpServiceServicer
from services.rpc.call import current_principal
from services.rpc.pages import PageTokens, page_size
from services.tools.mcp.adapting import tool_name
from services.tools.mcp.link import Link
from services.tools.mcp.servers import McpServers
from services.tools.settings import McpServerSetting

_PREFIX = "SAFETY_LEVEL_"

Context = grpc.aio.ServicerContext[Any, Any]


class McpServicer(McpServiceServicer):
    """Manages the servers of the caller's tenant."""

    def __init__(self, servers: McpServers, page_tokens: PageTokens) -> None:
        """Manage these."""
        self._servers = servers
        self._page_tokens = page_tokens

    async def AddServer(
        self, request: mcp_service_pb2.AddServerRequest, context: Context
    ) -> mcp_service_pb2.AddServerResponse:
        """See the contract."""
        tenant_id = current_principal().tenant_id
        link = await self._servers.add(tenant_id, request.server.name, setting_from(request.server))
        return mcp_service_pb2.AddServerResponse(server=server_message(link))

    async def ListServers(
        self, request: mcp_service_pb2.ListServersRequest, context: Context
    ) -> mcp_service_pb2.ListServersResponse:
        """See the contract."""
        principal = current_principal()
        after = self._page_tokens.decode(request.page_token, request, principal.user_id)
        size = page_size(request.page_size)
        rest = (link for link in self._servers.seen_by(principal.tenant_id) if link.name > after)
        found = list(islice(rest, size + 1))
        response = mcp_service_pb2.ListServersResponse(
            servers=[server_message(link) for link in found[:size]]
        )
        if len(found) > size:
            last = found[size - 1].name
            response.next_page_token = self._page_tokens.encode(last, request, principal.user_id)
        return response

    async def GetServer(
        self, request: mcp_service_pb2.GetServerRequest, context: Context
    ) -> mcp_service_pb2.GetServerResponse:
        """See the contract."""
        link = self._servers.get(current_principal().tenant_id, request.name)
        return mcp_service_pb2.GetServerResponse(server=server_message(link))

    async def RemoveServer(
        self, request: mcp_service_pb2.RemoveServerRequest, context: Context
    ) -> mcp_service_pb2.RemoveServerResponse:
        """See the contract."""
        await self._servers.remove(current_principal().tenant_id, request.name)
        return mcp_service_pb2.RemoveServerResponse()


def setting_from(message: mcp_service_pb2.McpServer) -> McpServerSetting:
    """The server that a message describes, with the defaults of what it leaves out."""
    told: dict[str, Any] = {}
    if message.lowest_safety_level:
        level = tool_pb2.SafetyLevel.Name(message.lowest_safety_level)
        told["lowest_safety_level"] = level.removeprefix(_PREFIX).lower()
    if message.HasField("timeout"):
        told["timeout_seconds"] = message.timeout.ToNanoseconds() / 1e9
    if message.max_output_bytes:
        told["max_output_bytes"] = message.max_output_bytes
    return McpServerSetting(
        command=message.program.command,
        url=message.address.url,
        secret_name=message.address.secret_name,
        **told,
    )


def server_message(link: Link) -> mcp_service_pb2.McpServer:
    """A server as it travels."""
    setting = link.setting
    message = mcp_service_pb2.McpServer(
        name=link.name,
        lowest_safety_level=tool_pb2.SafetyLevel.Value(f"{_PREFIX}{setting.lowest_safety_level.upper()}"),
        max_output_bytes=setting.max_output_bytes,
        state=link.state.value,
        problem=link.problem,
        tools=sorted({tool_name(link.name, tool.name) for tool in link.found}),
        fixed=link.fixed,
    )
    if setting.command:
        message.program.command = setting.command
    else:
        message.address.url = setting.url
        message.address.secret_name = setting.secret_name
    message.timeout.FromNanoseconds(int(setting.timeout_seconds * 1e9))
    message.state_time.FromDatetime(link.since)
    return message
