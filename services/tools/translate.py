"""Between the contract's messages and the service's own types."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from parley.tools.v1 import execution_pb2, tool_service_pb2
from services.rpc.errors import ServiceError
from services.tools.call_stream import Cancellation, Request
from services.tools.events import CallEvent, Happening, Output, Progress, Result, Started
from services.tools.runner import Invocation


def invocation_from(message: execution_pb2.ToolInvocation) -> Invocation:
    """The call that a message asks for."""
    timeout = message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None
    return Invocation(message.call_id, message.tool, message.arguments, timeout)


def request_from(message: tool_service_pb2.ExecuteManyRequest) -> Request:
    """What a message on a stream asks for."""
    if message.HasField("cancel"):
        return Cancellation(message.cancel.call_id)
    return invocation_from(message.call)


def event_message(event: CallEvent) -> execution_pb2.ToolEvent:
    """An event as it travels."""
    message = execution_pb2.ToolEvent(call_id=event.call_id, sequence=event.sequence)
    _fill(message, event.what)
    return message


def _fill(message: execution_pb2.ToolEvent, what: Happening) -> None:
    match what:
        case Started():
            message.started.tool = what.tool
            message.started.queued.CopyFrom(_duration(what.queued_seconds))
        case Progress():
            message.progress.message = what.message
            if what.fraction is not None:
                message.progress.fraction = what.fraction
        case Output():
            message.output.text = what.text
        case Result():
            message.result.content = what.content
            message.result.duration.CopyFrom(_duration(what.duration_seconds))
        case ServiceError():
            message.error.CopyFrom(what.to_status())


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
