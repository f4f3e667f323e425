"""Between the contract's messages and the service's own types."""

from __future__ import annotations

from itertools import islice

from google.protobuf.duration_pb2 import Duration

from parley.tools.v1 import execution_pb2, stats_pb2, tool_service_pb2
from services.rpc.errors import ServiceError
from services.tools.call_statistics import Figures, Summary
from services.tools.call_stream import Cancellation, Request
from services.tools.events import CallEvent, Happening, Output, Progress, Result, Started
from services.tools.runner import Invocation

MAX_CALLERS = 1000


def invocation_from(message: execution_pb2.ToolInvocation) -> Invocation:
    """The call that a message asks for."""
    timeout = message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None
    return Invocation(
        message.call_id,
        message.tool,
        message.arguments,
        timeout,
        tuple(message.after),
        message.idempotency_key,
        message.conversation_id,
    )


def request_from(message: tool_service_pb2.ExecuteManyRequest) -> Request:
    """What a message on a stream asks for."""
    if message.HasField("cancel"):
        return Cancellation(message.cancel.call_id)
    if message.HasField("cancel_all"):
        return Cancellation(None)
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
            message.result.replayed = what.replayed
        case ServiceError():
            message.error.CopyFrom(what.to_status())


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration


def stats_message(summary: Summary) -> tool_service_pb2.GetStatsResponse:
    """Figures as they travel."""
    message = tool_service_pb2.GetStatsResponse(
        tools=[
            stats_pb2.ToolStats(tool=name, stats=_stats(figures)) for name, figures in summary.tools.items()
        ],
        callers=[
            stats_pb2.CallerStats(user_id=user, stats=_stats(figures))
            for user, figures in islice(summary.callers.items(), MAX_CALLERS)
        ],
        queue=stats_pb2.QueueStats(running=summary.running, waiting=summary.waiting),
    )
    message.since.FromDatetime(summary.since)
    return message


def _stats(figures: Figures) -> stats_pb2.CallStats:
    message = stats_pb2.CallStats(
        calls=figures.calls,
        errors=[
            stats_pb2.ReasonCount(reason=reason, calls=calls)
            for reason, calls in figures.errors.most_common()
        ],
    )
    for name, spread in (("run", figures.run), ("queued", figures.queued)):
        for share in (50, 95):
            seconds = spread.quantile(share / 100)
            if seconds is not None:
                getattr(message, f"{name}_p{share}").CopyFrom(_duration(seconds))
    return message
