"""`parley.tools.v1.ToolService`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from itertools import islice
from typing import Any

import grpc

from parley.tools.v1 import tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceServicer
from services.rpc.call import current_call, current_principal
from services.rpc.errors import ServiceError
from services.rpc.pages import PageTokens, page_size
from services.tools.call_stream import Caller, CallStream, HearEnd, Request, StreamLimits
from services.tools.catalogue import Catalogue
from services.tools.events import CallEvent
from services.tools.heard import tell_of_call
from services.tools.metering import Door, Tally
from services.tools.runner import Runner
from services.tools.translate import event_message, invocation_from, request_from, stats_message

Context = grpc.aio.ServicerContext[Any, Any]


class ToolServicer(ToolServiceServicer):
    """Answers with the catalogue and runs its tools."""

    def __init__(
        self, catalogue: Catalogue, runner: Runner, limits: StreamLimits, page_tokens: PageTokens, door: Door
    ) -> None:
        """Serve this catalogue; streams of calls pass the door."""
        self._door = door
        self._catalogue = catalogue
        self._runner = runner
        self._limits = limits
        self._page_tokens = page_tokens

    async def ListTools(
        self, request: tool_service_pb2.ListToolsRequest, context: Context
    ) -> tool_service_pb2.ListToolsResponse:
        """See the contract."""
        principal = current_principal()
        after = self._page_tokens.decode(request.page_token, request, principal.user_id)
        size = page_size(request.page_size)
        found = list(islice(self._catalogue.permitted(principal, request.category, after), size + 1))
        response = tool_service_pb2.ListToolsResponse(tools=[tool.message for tool in found[:size]])
        if len(found) > size:
            last = found[size - 1].name
            response.next_page_token = self._page_tokens.encode(last, request, principal.user_id)
        return response

    async def GetTool(
        self, request: tool_service_pb2.GetToolRequest, context: Context
    ) -> tool_service_pb2.GetToolResponse:
        """See the contract."""
        found = self._catalogue.find(request.name, current_principal())
        return tool_service_pb2.GetToolResponse(tool=found.message)

    async def Execute(
        self, request: tool_service_pb2.ExecuteRequest, context: Context
    ) -> AsyncIterator[tool_service_pb2.ExecuteResponse]:
        """See the contract."""

        async def once() -> AsyncIterator[Request]:
            yield invocation_from(request.call)

        async with self._door.passing() as tally, aclosing(self._events(once(), tally)) as events:
            async for event in events:
                if isinstance(event.what, ServiceError):
                    raise event.what
                yield tool_service_pb2.ExecuteResponse(event=event_message(event))

    async def ExecuteMany(
        self, requests: AsyncIterator[tool_service_pb2.ExecuteManyRequest], context: Context
    ) -> AsyncIterator[tool_service_pb2.ExecuteManyResponse]:
        """See the contract."""
        asked = (request_from(request) async for request in requests)
        async with (
            self._door.passing() as tally,
            aclosing(self._events(asked, tally, tell_of_call)) as events,
        ):
            async for event in events:
                yield tool_service_pb2.ExecuteManyResponse(event=event_message(event))

    async def GetStats(
        self, request: tool_service_pb2.GetStatsRequest, context: Context
    ) -> tool_service_pb2.GetStatsResponse:
        """See the contract."""
        statistics = self._runner.statistics
        tenant_id = current_principal().tenant_id
        return stats_message(statistics.read(tenant_id, tool=request.tool, user_id=request.user_id))

    async def ResetStats(
        self, request: tool_service_pb2.ResetStatsRequest, context: Context
    ) -> tool_service_pb2.ResetStatsResponse:
        """See the contract."""
        response = tool_service_pb2.ResetStatsResponse()
        response.since.FromDatetime(self._runner.statistics.reset(current_principal().tenant_id))
        return response

    def _events(
        self, requests: AsyncIterator[Request], tally: Tally, hear_end: HearEnd | None = None
    ) -> AsyncGenerator[CallEvent, None]:
        """What happens to the calls that the current caller asks for, each of them counted."""
        call = current_call()
        caller = Caller(current_principal(), call.request_id, call.deadline)
        return CallStream(self._runner, caller, self._limits, hear_end).events(tally.counting(requests))
