"""Between the contract and the domain: pure functions, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from google.protobuf import duration_pb2, timestamp_pb2

from parley.inference.v1 import (
    answer_pb2,
    chat_pb2,
    completion_pb2,
    converse_pb2,
    logprobs_pb2,
    message_pb2,
)
from parley.tools.v1 import tool_pb2
from services.inference import engine, events, translate_options
from services.inference.client_tools import client_tool
from services.inference.logprobs import TokenLogprob
from services.inference.options import RawPrompt
from services.inference.order import ApprovalPolicy, Approvals, CacheMode, ChatOrder, ClientTools, Limits
from services.inference.tool_calls import ToolSelection
from services.inference.waiting_calls import Answer, ClientResult, Decision

ROLES = {
    message_pb2.ROLE_SYSTEM: engine.Role.SYSTEM,
    message_pb2.ROLE_USER: engine.Role.USER,
    message_pb2.ROLE_ASSISTANT: engine.Role.ASSISTANT,
    message_pb2.ROLE_TOOL: engine.Role.TOOL,
}
CACHE_MODES = {
    chat_pb2.CACHE_MODE_UNSPECIFIED: CacheMode.DETERMINISTIC,
    chat_pb2.CACHE_MODE_DETERMINISTIC: CacheMode.DETERMINISTIC,
    chat_pb2.CACHE_MODE_OFF: CacheMode.OFF,
    chat_pb2.CACHE_MODE_ON: CacheMode.ON,
}


def chat_order(request: chat_pb2.ChatRequest) -> ChatOrder:
    """What a validated request asks for; who says nothing of it is asked nothing.

    Raises:
        ClientToolInvalid: A tool of the client cannot be offered.
    """
    asks = request.approvals.policy == chat_pb2.APPROVAL_POLICY_ASK
    waits = request.client_tools.mode == chat_pb2.CLIENT_TOOL_MODE_WAIT
    order = _order(request, waits=waits, asks=asks)
    return replace(order, resume_seconds=seconds(request.resume_window))


def conversation_order(setup: converse_pb2.ConverseSetup) -> ChatOrder:
    """What is asked for in every turn of a conversation, with what was said before it.

    Raises:
        ClientToolInvalid: A tool of the client cannot be offered.
    """
    return _order(setup, waits=True, asks=setup.approvals.policy != chat_pb2.APPROVAL_POLICY_DENY)


def _order(given: chat_pb2.ChatRequest | converse_pb2.ConverseSetup, *, waits: bool, asks: bool) -> ChatOrder:
    return ChatOrder(
        model=given.model,
        messages=tuple(message(each) for each in given.messages),
        sampling=translate_options.sampling(given.sampling),
        reasoning=translate_options.reasoning(given.reasoning),
        effort=translate_options.effort(given.reasoning),
        tools=ToolSelection(given.server_tools.all, tuple(given.server_tools.names)),
        limits=limits(given.limits),
        client_tools=client_tools(given.client_tools, waits=waits),
        approvals=approvals(given.approvals, asks=asks),
        conversation_id=given.conversation_id,
        continues=given.continue_conversation,
        cache=CACHE_MODES[given.cache.mode],
        tool_choice=translate_options.tool_choice(given.tool_choice),
        parallel_calls=given.parallel_tool_calls if given.HasField("parallel_tool_calls") else True,
        form=translate_options.form(given.structured_output),
        event_delay_seconds=_event_delay(given),
    )


def completion_order(request: completion_pb2.CompleteRequest) -> ChatOrder:
    """What a validated request asks to go on with."""
    limits = (
        Limits(max_seconds=seconds(request.max_duration)) if request.HasField("max_duration") else Limits()
    )
    return ChatOrder(
        model=request.model,
        messages=(),
        sampling=translate_options.sampling(request.sampling),
        limits=limits,
        form=translate_options.form(request.structured_output),
        cache=CACHE_MODES[request.cache.mode],
        raw=RawPrompt(request.text, tuple(request.tokens.ids), request.echo),
        event_delay_seconds=_event_delay(request),
    )


def _event_delay(
    given: chat_pb2.ChatRequest | converse_pb2.ConverseSetup | completion_pb2.CompleteRequest,
) -> float | None:
    """For how long text may be held back; None where nothing is said of it."""
    return seconds(given.max_event_delay) if given.HasField("max_event_delay") else None


def message(given: message_pb2.Message) -> engine.Message:
    """A message of the conversation."""
    return engine.Message(
        role=ROLES[given.role],
        content=text(given.content),
        reasoning=given.reasoning,
        tool_calls=tuple(engine.ToolCall(call.id, call.name, call.arguments) for call in given.tool_calls),
        tool_call_id=given.tool_call_id,
    )


def stored(given: engine.Message) -> message_pb2.Message:
    """A message of the conversation, to be kept."""
    return message_pb2.Message(
        role=message_pb2.Role.Value(f"ROLE_{given.role.name}"),
        content=[message_pb2.ContentPart(text=given.content)] if given.content else (),
        reasoning=given.reasoning,
        tool_calls=map(_tool_call, given.tool_calls),
        tool_call_id=given.tool_call_id,
    )


def user_turn(given: converse_pb2.UserTurn) -> engine.Message:
    """What the user says in a conversation."""
    return engine.Message(engine.Role.USER, text(given.content))


def text(parts: Iterable[message_pb2.ContentPart]) -> str:
    """The text of a message's parts."""
    return "".join(part.text for part in parts)


def limits(given: chat_pb2.RunLimits) -> Limits:
    """What the run may use up."""
    default = Limits()
    given_or = {
        name: getattr(given if given.HasField(name) else default, name)
        for name in (
            "max_tool_rounds",
            "max_tool_calls",
            "max_output_tokens",
            "max_tool_corrections",
            "max_tool_result_bytes",
        )
    }
    most_seconds = seconds(given.max_duration) if given.HasField("max_duration") else default.max_seconds
    return Limits(max_seconds=most_seconds, **given_or)


def client_tools(given: chat_pb2.ClientTools, *, waits: bool) -> ClientTools:
    """The tools that the client brings.

    Raises:
        ClientToolInvalid: One cannot be offered.
    """
    return ClientTools(
        tools=tuple(client_tool(tool.name, tool.description, tool.parameters_schema) for tool in given.tools),
        waits=waits,
        seconds=seconds(given.timeout) if given.HasField("timeout") else ClientTools().seconds,
    )


def approvals(given: chat_pb2.ApprovalOptions, *, asks: bool) -> Approvals:
    """What becomes of calls of dangerous tools."""
    return Approvals(
        policy=ApprovalPolicy.ASK if asks else ApprovalPolicy.DENY,
        seconds=seconds(given.timeout) if given.HasField("timeout") else Approvals().seconds,
        approved=frozenset(given.approved_tools),
    )


def client_result(given: answer_pb2.ClientToolResult) -> Answer:
    """What came of a call that the client made."""
    if given.WhichOneof("outcome") == "error":
        return ClientResult(given.error, failed=True)
    return ClientResult(given.content)


def decision(given: answer_pb2.ApprovalDecision) -> Answer:
    """What was decided about a call."""
    return Decision(given.verdict == answer_pb2.APPROVAL_VERDICT_APPROVE, given.note)


def chat_response(sequence: int, run_id: str, event: events.RunEvent) -> chat_pb2.ChatResponse:
    """The response that carries an event."""
    response = chat_pb2.ChatResponse()
    response.event.sequence = sequence
    _fill(response.event, run_id, event)
    return response


def _fill(target: chat_pb2.ChatEvent, run_id: str, event: events.RunEvent) -> None:
    """Set the member of the `oneof` that stands for the event; deltas, the most frequent, first."""
    match event:
        case engine.ContentDelta():
            _fill_delta(target.content_delta, event)
        case engine.ReasoningDelta():
            _fill_delta(target.reasoning_delta, event)
        case engine.ToolCallDelta(index, call_id, name, arguments):
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
    delta: engine.ContentDelta | engine.ReasoningDelta,
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


def _tool_call(call: engine.ToolCall) -> message_pb2.ToolCall:
    return message_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments)


def _call_ready(event: events.CallReady) -> chat_pb2.ToolCallReady:
    return chat_pb2.ToolCallReady(
        call=_tool_call(event.call),
        round=event.round,
        client_side=event.client_side,
        expire_time=timestamp(event.expires_at) if event.expires_at is not None else None,
    )


def _approval_needed(event: events.ApprovalNeeded) -> chat_pb2.ApprovalNeeded:
    return chat_pb2.ApprovalNeeded(
        call=_tool_call(event.call),
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


def seconds(given: duration_pb2.Duration) -> float:
    """A duration in seconds."""
    return given.ToTimedelta().total_seconds()


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
