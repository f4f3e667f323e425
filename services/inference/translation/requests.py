"""From the contract to the domain: what is asked for, as pure functions."""

from __future__ import annotations

from dataclasses import replace

from google.protobuf import duration_pb2

from parley.inference.v1 import answer_pb2, chat_pb2, completion_pb2, converse_pb2
from services.inference.calling.client_tools import client_tool
from services.inference.calling.tool_calls import ToolSelection
from services.inference.calling.waiting_calls import Answer, ClientResult, Decision
from services.inference.engine.options import RawPrompt
from services.inference.runs.order import ApprovalPolicy, Approvals, CacheMode, ChatOrder, ClientTools, Limits
from services.inference.translation import options as translate_options
from services.inference.translation.messages import message

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
    sampling = translate_options.sampling(request.sampling)
    if request.echo_only:
        # An engine tells what a prompt is worth with the first token after it, which is not said.
        sampling = replace(sampling, max_output_tokens=1, min_output_tokens=0)
    return ChatOrder(
        model=request.model,
        messages=(),
        sampling=sampling,
        limits=limits,
        form=translate_options.form(request.structured_output),
        cache=CACHE_MODES[request.cache.mode],
        raw=RawPrompt(request.text, tuple(request.tokens.ids), request.echo, request.echo_only),
        event_delay_seconds=_event_delay(request),
    )


def _event_delay(
    given: chat_pb2.ChatRequest | converse_pb2.ConverseSetup | completion_pb2.CompleteRequest,
) -> float | None:
    """For how long text may be held back; None where nothing is said of it."""
    return seconds(given.max_event_delay) if given.HasField("max_event_delay") else None


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


def seconds(given: duration_pb2.Duration) -> float:
    """A duration in seconds."""
    return given.ToTimedelta().total_seconds()
