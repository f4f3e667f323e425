"""`parley.tools.v1.McpEndpointService`: MCP's streamable HTTP through the one door.

The edge checks the caller, and its transcoder carries the body of each POST here
and the answer back. The protocol itself is the SDK's: its HTTP transport runs
without sessions, once for each request, and ends with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import grpc
import jiter
from google.api import annotations_pb2, httpbody_pb2
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from parley.tools.v1 import mcp_endpoint_service_pb2
from parley.tools.v1.mcp_endpoint_service_pb2_grpc import McpEndpointServiceServicer
from services.rpc.call import current_call, current_principal
from services.tools.call_stream import Caller
from services.tools.mcp.http_bridge import Head, Request, answered
from services.tools.mcp.offered import Offer

_SERVICE = mcp_endpoint_service_pb2.DESCRIPTOR.services_by_name["McpEndpointService"]
_EXCHANGE = _SERVICE.methods_by_name["Exchange"]
PATH: str = _EXCHANGE.GetOptions().Extensions[annotations_pb2.http].post
STATUS_HEADER = "x-parley-http-status"
"""What the edge makes the answer's HTTP status; see `deploy/envoy/statuses.lua`."""

ENVELOPE_BYTES = 64 * 2**10
"""What a message may have beside the arguments of a call."""

_OK = 200
_JSON = "application/json"
_ANSWER_HEADERS = frozenset({"allow", "cache-control"})

Context = grpc.aio.ServicerContext[Any, Any]


class McpEndpointServicer(McpEndpointServiceServicer):
    """Serves one MCP message at a time."""

    def __init__(self, offer: Offer, *, max_argument_bytes: int) -> None:
        """Offer these tools to clients whose calls have arguments up to this size."""
        self._offer = offer
        self._max_body_bytes = max_argument_bytes + ENVELOPE_BYTES

    async def Exchange(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """See the contract."""
        asked = Request(PATH, _headers(request, context.invocation_metadata() or ()), request.data)
        content_type, sent = "", False
        async with aclosing(answered(self._application(asked.body), asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Head):
                    content_type = piece.header("content-type")
                    await context.send_initial_metadata(_metadata(piece))
                else:
                    yield httpbody_pb2.HttpBody(content_type=content_type, data=piece)
                    sent = True
        if not sent:  # Without a message the edge would write an empty list.
            yield httpbody_pb2.HttpBody(content_type=content_type)

    def _application(self, body: bytes) -> ASGIApp:
        """What answers this body."""
        if len(body) > self._max_body_bytes:
            return _refused(413, INVALID_REQUEST, f"The message is larger than {self._max_body_bytes} bytes.")
        try:
            jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
        except ValueError:  # at most 200 levels deep, and stricter than what reads it next
            return _refused(400, PARSE_ERROR, "The message is not valid JSON.")
        call = current_call()
        caller = Caller(current_principal(), call.request_id, call.deadline)

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            manager = StreamableHTTPSessionManager(
                self._offer.server(caller), stateless=True, max_request_body_size=self._max_body_bytes
            )
            async with manager.run():
                await manager.handle_request(scope, receive, send)

        return serve


def _headers(
    request: httpbody_pb2.HttpBody, metadata: Iterable[tuple[str, str | bytes]]
) -> tuple[tuple[str, str], ...]:
    """The headers that MCP reads; none that says who the caller is."""
    read = [
        (key, value)
        for key, value in metadata
        if isinstance(value, str) and (key == "accept" or key.startswith("mcp-"))
    ]
    return (("content-type", request.content_type or _JSON), *read)


def _metadata(head: Head) -> tuple[tuple[str, str], ...]:
    kept = [(name, value) for name, value in head.headers if name in _ANSWER_HEADERS]
    status = [(STATUS_HEADER, str(head.status))] if head.status != _OK else []
    return (*kept, *status)


def _refused(status: int, code: int, message: str) -> ASGIApp:
    """Answers with a JSON-RPC error that belongs to no request."""
    error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=message))
    return Response(error.model_dump_json(by_alias=True, exclude_unset=True), status, media_type=_JSON)
