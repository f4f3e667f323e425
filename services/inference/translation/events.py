"""From the domain to the contract: what happened, as pure functions."""

from __future__ import annotations

from datetime import datetime

from google.protobuf import duration_pb2, timestamp_pb2

from parley.inference.v1 import chat_pb2, logprobs_pb2
from parley.tools.v1 import tool_pb2
from services.inference.reading import step
from services.inference.reading.logprobs import TokenLogprob
from services.inference.runs import events
from services.inference.translation.messages import tool_call


def chat_response(sequence: int, run_id: str, event: events.RunEvent) -> chat_pb2.ChatResponse:
    """The response that carries an event."""
    response = chat_pb2.ChatResponse()
    response.event.sequence = sequence
    _fill(response.event, run_id, event)
    return response


def _fill(target: chat_pb2.ChatEvent, run_id: str, event: events.RunEvent) -> None:
    """Set the member of the `oneof` that stands for the event; deltas, the most frequent, first."""
    match event:
        case step.ContentDelta():
            _fill_delta(target.content_delta, event)
        case step.ReasoningDelta():
            _fill_delta(target.reasoning_delta, event)
        case step.ToolCallDelta(index, call_id, name, arguments):
            target.tool_call_delta.CopyFrom(
                chat_pb2.ToolCallDelta(index=index, id=call_id, name=name, arguments=arguments)
            )
        case events.RunUsage():
            target.usage.CopyFrom(_usage(event))
        case events.CallReady():
            target.tool_call.CopyFrom(_call_ready(event))
        case events.CallProgress(call_id, fraction, text):
            target.tool_progress.CopyFrom(
                chat_pb2.ToolCallProgress(call_id=call_id, fraction=fraction, message=text)
            )
        case events.CallResult():
            target.tool_result.CopyFrom(_call_result(event))
        case events.ApprovalNeeded():
            target.approval_needed.CopyFrom(_approval_needed(event))
        case events.ApprovalDecided(call_id, outcome, note):
            named = chat_pb2.ApprovalOutcome.Value(f"APPROVAL_OUTCOME_{outcome.name}")
            target.approval_decided.CopyFrom(
                chat_pb2.ApprovalDecided(call_id=call_id, outcome=named, note=note)
            )
        case events.Started():
            target.started.CopyFrom(_started(run_id, event))
        case events.Finished():
            target.finished.CopyFrom(_finished(event))


def _fill_delta(
    target: chat_pb2.ContentDelta | chat_pb2.ReasoningDelta,
    delta: step.ContentDelta | step.ReasoningDelta,
) -> None:
    target.text = delta.text
    if delta.choice:
        target.choice = delta.choice
    if delta.logprobs:
        target.logprobs.extend(token_logprob(each) for each in delta.logprobs)


def token_logprob(given: TokenLogprob) -> logprobs_pb2.TokenLogprob:
    """A token with its log-probability."""
    return logprobs_pb2.TokenLogprob(
        token=given.text.decode(errors="replace"),
        token_id=given.token_id,
        logprob=given.logprob,
        text_bytes=given.text,
        top=(
            logprobs_pb2.TopLogprob(
                token=top.text.decode(errors="replace"),
                token_id=top.token_id,
                logprob=top.logprob,
                text_bytes=top.text,
            )
            for top in given.top
        ),
    )


def _finished(event: events.Finished) -> chat_pb2.ChatFinished:
    return chat_pb2.ChatFinished(
        reason=finish_reason(event.reason),
        error=event.error,
        conversation_error=event.conversation_error,
        choices=(
            chat_pb2.ChoiceEnd(
                choice=end.choice,
                reason=finish_reason(end.reason),
                completion_tokens=end.completion_tokens,
                stop_text=end.stop_text,
            )
            for end in event.choices
        ),
    )


def finish_reason(given: events.FinishReason) -> chat_pb2.FinishReason.ValueType:
    """Why a run or a choice ended."""
    return chat_pb2.FinishReason.Value(f"FINISH_REASON_{given.name}")


def _started(run_id: str, event: events.Started) -> chat_pb2.ChatStarted:
    return chat_pb2.ChatStarted(
        run_id=run_id,
        model=event.model,
        prompt_tokens=event.prompt_tokens,
        tools=event.tools,
        tools_error=event.tools_error,
        cache=chat_pb2.CacheState.Value(f"CACHE_STATE_{event.cache.name}"),
        alias=event.alias,
        variant=event.variant,
    )


def _usage(event: events.RunUsage) -> chat_pb2.Usage:
    return chat_pb2.Usage(
        prompt_tokens=event.prompt_tokens,
        completion_tokens=event.completion_tokens,
        cached_prompt_tokens=event.cached_prompt_tokens,
        reasoning_tokens=event.reasoning_tokens,
        turns=event.turns,
        reused_completion_tokens=event.reused_tokens,
    )


def _call_ready(event: events.CallReady) -> chat_pb2.ToolCallReady:
    return chat_pb2.ToolCallReady(
        call=tool_call(event.call),
        round=event.round,
        client_side=event.client_side,
        expire_time=timestamp(event.expires_at) if event.expires_at is not None else None,
    )


def _approval_needed(event: events.ApprovalNeeded) -> chat_pb2.ApprovalNeeded:
    return chat_pb2.ApprovalNeeded(
        call=tool_call(event.call),
        round=event.round,
        safety_level=tool_pb2.SafetyLevel.ValueType(event.safety_level),
        permission=event.permission,
        expire_time=timestamp(event.expires_at),
    )


def _call_result(event: events.CallResult) -> chat_pb2.ToolCallResult:
    return chat_pb2.ToolCallResult(
        call_id=event.call.id,
        name=event.call.name,
        content=event.content,
        error=event.error,
        duration=duration(event.seconds),
        omitted_bytes=event.omitted_bytes,
    )


def duration(given: float) -> duration_pb2.Duration:
    """Seconds as a duration, to the microsecond."""
    made = duration_pb2.Duration()
    made.FromMicroseconds(round(given * 1_000_000))
    return made


def timestamp(given: datetime) -> timestamp_pb2.Timestamp:
    """A time as it travels."""
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(given)
    return made
