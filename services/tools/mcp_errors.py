"""What can go wrong with outside MCP servers."""

from __future__ import annotations

from datetime import timedelta

from parley.tools.v1 import error_reason_pb2
from services.tools.errors import ToolsError, quoted


class McpServerNotFound(ToolsError):
    """There is no MCP server of this name."""

    reason = error_reason_pb2.ERROR_REASON_MCP_SERVER_NOT_FOUND

    def __init__(self, server: str, nearest: str) -> None:
        hint = f" Did you mean {nearest}?" if nearest else ""
        super().__init__(
            f"There is no MCP server {server}.{hint}", metadata={"server": server, "nearest": nearest}
        )


class McpServerExists(ToolsError):
    """Another MCP server has this name."""

    reason = error_reason_pb2.ERROR_REASON_MCP_SERVER_EXISTS

    def __init__(self, server: str) -> None:
        super().__init__(
            f"There is another MCP server {server}; remove it first, or choose another name.",
            metadata={"server": server},
        )


class McpServerUnavailable(ToolsError):
    """The MCP server is gone or does not answer."""

    reason = error_reason_pb2.ERROR_REASON_MCP_SERVER_UNAVAILABLE

    def __init__(self, server: str) -> None:
        super().__init__(
            f"The MCP server {server} is gone or does not answer; it is tried again.",
            metadata={"server": server},
            retry_after=timedelta(seconds=5),
        )


class McpCommandNotAllowed(ToolsError):
    """The operator allows no command of this name."""

    reason = error_reason_pb2.ERROR_REASON_MCP_COMMAND_NOT_ALLOWED

    def __init__(self, command: str) -> None:
        super().__init__(
            f"The command {command} is not one that the operator allows in PARLEY_TOOLS_MCP_COMMANDS.",
            metadata={"command": command},
        )


class McpSecretNotFound(ToolsError):
    """The operator keeps no secret of this name for this server."""

    reason = error_reason_pb2.ERROR_REASON_MCP_SECRET_NOT_FOUND

    def __init__(self, secret_name: str) -> None:
        super().__init__(
            f"PARLEY_TOOLS_MCP_SECRETS has no secret {secret_name} for this server; ask the operator.",
            metadata={"secret_name": secret_name},
        )


class McpServerFixed(ToolsError):
    """The MCP server is named in the settings."""

    reason = error_reason_pb2.ERROR_REASON_MCP_SERVER_FIXED

    def __init__(self, server: str) -> None:
        super().__init__(
            f"The MCP server {server} is named in the settings; only the operator changes it.",
            metadata={"server": server},
        )


class McpProtocolError(ToolsError):
    """The MCP server answered with an error of the protocol, or with what it does not allow."""

    reason = error_reason_pb2.ERROR_REASON_MCP_PROTOCOL_ERROR

    def __init__(self, server: str, why: str, code: str = "") -> None:
        super().__init__(
            f"The MCP server {server} did not answer as it must: {quoted(why)}",
            metadata={"server": server, "code": code},
        )


class TooManyMcpServers(ToolsError):
    """The tenant has as many MCP servers as it may."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_MCP_SERVERS

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"There are {limit} MCP servers already; remove one first.", metadata={"limit": str(limit)}
        )
