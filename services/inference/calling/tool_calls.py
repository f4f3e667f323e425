"""Offers a chat its tools and has one turn's calls run by the tools service, in parallel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
import structlog
from google.rpc import status_pb2

from parley.tools.v1 import execution_pb2, tool_service_pb2
from services.inference.calling.catalogue import Catalogue, ServerTool
from services.inference.calling.errors import ToolNotOffered
from services.inference.engine.turn import ToolCall
from services.inference.runs.events import CallProgress, CallResult, CallUpdate
from services.rpc.call import onward_metadata
from services.rpc.errors import DependencyUnavailable, error_info, status_of

if TYPE_CHECKING:
    # The stub as grpc.aio makes it; it exists for type checkers alone.
    from parley.tools.v1.tool_service_pb2_grpc import ToolServiceAsyncStub

# What the model is told when the service itself is away: it knows tools, not services.
TOOLS_UNAVAILABLE = "TOOLS_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """Which server tools a chat asks for: every one that its caller may use, or some by name."""

    all: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools that a chat gets.

    Attributes:
        tools: The tools, sorted by name.
        error: Set where the tools service did not answer, and nothing is known
            of its catalogue: the chat goes on without tools.
    """

    tools: tuple[ServerTool, ...] = ()
    error: status_pb2.Status | None = None


class Toolbox(Protocol):
    """What the agent loop needs of the tools service."""

    async def offer(self, selection: ToolSelection) -> Offer:
        """The tools of a selection.

        Raises:
            ToolNotOffered: A name is unknown, or not for the caller.
        """
        ...

    def execute(
        self, calls: Sequence[ToolCall], conversation_id: str = ""
    ) -> AsyncGenerator[CallUpdate, None]:
        """Run calls in parallel; each ends with one `CallResult`, whatever happens.

        Closing the generator ends the tools.

        Args:
            calls: The calls.
            conversation_id: Whose workspace they find; empty: the caller's.
        """
        ...


class RemoteToolbox:
    """The tools service, called for the current caller."""

    def __init__(self, stub: ToolServiceAsyncStub, catalogue: Catalogue) -> None:
        """Use this service and its catalogue."""
        self._stub = stub
        self._catalogue = catalogue
        self._log = structlog.get_logger("parley.inference")

    async def offer(self, selection: ToolSelection) -> Offer:
        """See `Toolbox.offer`."""
        if not selection.all and not selection.names:
            return Offer()
        try:
            known = await self._catalogue.tools()
        except DependencyUnavailable as error:
            return Offer(error=error.to_status())
        for name in selection.names:
            if name not in known:
                raise ToolNotOffered(name, known)
        names = known if selection.all else sorted(selection.names)
        return Offer(tuple(known[name] for name in names))

    async def execute(
        self, calls: Sequence[ToolCall], conversation_id: str = ""
    ) -> AsyncGenerator[CallUpdate, None]:
        """See `Toolbox.execute`."""
        waiting = Waiting(calls)
        requests = iter(_requests(calls, conversation_id))
        stream = self._stub.ExecuteMany(requests, metadata=onward_metadata())
        try:
            async for response in stream:
                update = waiting.read(response.event)
                if update is not None:
                    yield update
            failure = DependencyUnavailable("tools").to_status()
        except grpc.aio.AioRpcError as error:
            self._log.warning("tool calls failed", code=error.code().name, calls=len(waiting))
            failure = _failure(error)
        finally:
            stream.cancel()
        for result in waiting.fail(failure):
            yield result


class Waiting:
    """The calls of a turn that have not ended yet."""

    def __init__(self, calls: Iterable[ToolCall]) -> None:
        """Wait for these from now on."""
        self._calls = {call.id: call for call in calls}
        self._since = asyncio.get_running_loop().time()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._calls)

    def read(self, event: execution_pb2.ToolEvent) -> CallUpdate | None:
        """What an event of the tools service means to the run; None for what it need not know."""
        if event.call_id not in self._calls:
            return None
        match event.WhichOneof("event"):
            case "progress":
                progress = event.progress
                fraction = progress.fraction if progress.HasField("fraction") else None
                return CallProgress(event.call_id, fraction, progress.message)
            case "result":
                return self._end(event.call_id, event.result.content, None)
            case "error":
                return self._end(event.call_id, error_text(event.error), event.error)
        return None

    def fail(self, error: status_pb2.Status) -> list[CallResult]:
        """End all that are left with this error."""
        return [self._end(call_id, error_text(error), error) for call_id in list(self._calls)]

    def _end(self, call_id: str, content: str, error: status_pb2.Status | None) -> CallResult:
        seconds = asyncio.get_running_loop().time() - self._since
        return CallResult(self._calls.pop(call_id), content, error, seconds)


def error_text(error: status_pb2.Status) -> str:
    """What the model is given of a failed call, as compact JSON."""
    info = error_info(error)
    reason = info.reason if info is not None else "INTERNAL"
    if reason == "DEPENDENCY_UNAVAILABLE":
        reason = TOOLS_UNAVAILABLE
    body = {"error": {"reason": reason, "message": error.message}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _requests(
    calls: Iterable[ToolCall], conversation_id: str
) -> Iterable[tool_service_pb2.ExecuteManyRequest]:
    for call in calls:
        invocation = execution_pb2.ToolInvocation(
            call_id=call.id, tool=call.name, arguments=call.arguments, conversation_id=conversation_id
        )
        yield tool_service_pb2.ExecuteManyRequest(call=invocation)


def _failure(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The error of every call that a broken stream leaves behind."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return DependencyUnavailable("tools").to_status()
    return status_of(error)
