"""What can go wrong on the way to other people's servers."""

from __future__ import annotations

from typing import Literal

from parley.tools.v1 import error_reason_pb2
from services.tools.errors import ToolsError, quoted

Phase = Literal["resolve", "connect", "send", "read"]


class UrlInvalid(ToolsError):
    """The URL cannot be used."""

    reason = error_reason_pb2.ERROR_REASON_URL_INVALID

    def __init__(self, why: str, host: str = "") -> None:
        super().__init__(f"The URL cannot be used: {why}.", metadata={"host": quoted(host)})


class AddressNotAllowed(ToolsError):
    """The host's address is not one that tools may reach."""

    reason = error_reason_pb2.ERROR_REASON_ADDRESS_NOT_ALLOWED

    def __init__(self, host: str, address: str, kind: str) -> None:
        host = quoted(host)
        super().__init__(
            f"{host} cannot be reached by tools: its address {address} is {kind}. "
            "Use a host of the public internet, or ask the operator to open the network.",
            metadata={"host": host, "address": address},
        )


class HeaderNotAllowed(ToolsError):
    """The header is one that tools may not set."""

    reason = error_reason_pb2.ERROR_REASON_HEADER_NOT_ALLOWED

    def __init__(self, header: str) -> None:
        header = quoted(header)
        super().__init__(
            f"The header {header} is set by the service or by nobody; leave it out.",
            metadata={"header": header},
        )


class HostUnreachable(ToolsError):
    """The host has no address, does not answer, or breaks the protocol."""

    reason = error_reason_pb2.ERROR_REASON_HOST_UNREACHABLE

    def __init__(self, host: str, why: str) -> None:
        host = quoted(host)
        super().__init__(f"{host} cannot be reached: {why}.", metadata={"host": host})


class HostTimeout(ToolsError):
    """The host took too long."""

    reason = error_reason_pb2.ERROR_REASON_HOST_TIMEOUT

    def __init__(self, host: str, phase: Phase) -> None:
        host = quoted(host)
        super().__init__(f"{host} took too long ({phase}).", metadata={"host": host, "phase": phase})


class ResponseTooLarge(ToolsError):
    """The response is larger than it may be."""

    reason = error_reason_pb2.ERROR_REASON_RESPONSE_TOO_LARGE

    def __init__(self, host: str, limit_bytes: int) -> None:
        host = quoted(host)
        super().__init__(
            f"The response of {host} is larger than {limit_bytes} bytes; ask it for less.",
            metadata={"host": host, "limit_bytes": str(limit_bytes)},
        )


class TooManyRedirects(ToolsError):
    """The response led on to another address too often."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_REDIRECTS

    def __init__(self, host: str, limit: int) -> None:
        host = quoted(host)
        super().__init__(
            f"{host} led on to another address more than {limit} times.",
            metadata={"host": host, "limit": str(limit)},
        )


class HttpStatus(ToolsError):
    """The host answered with another status than success."""

    reason = error_reason_pb2.ERROR_REASON_HTTP_STATUS

    def __init__(self, host: str, status: int) -> None:
        host = quoted(host)
        super().__init__(
            f"{host} answered with status {status}.", metadata={"host": host, "status": str(status)}
        )


class ContentUnreadable(ToolsError):
    """The response is of a kind that the tool cannot read."""

    reason = error_reason_pb2.ERROR_REASON_CONTENT_UNREADABLE

    def __init__(self, host: str, content_type: str, why: str) -> None:
        host, content_type = quoted(host), quoted(content_type)
        super().__init__(
            f"The response of {host} cannot be read: {why}.",
            metadata={"host": host, "content_type": content_type},
        )
