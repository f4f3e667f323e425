"""What the toy platform shall answer, and what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from parley.inference.v1 import chat_pb2, message_pb2
from parley_client.errors import DETAILS_KEY

PASSWORD = "open sesame"
RUN_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
KEY_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAW"


def failure(code: int, reason: str, message: str, *more: Any, **metadata: str) -> status_pb2.Status:
    """A status with the details that the platform sends."""
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="test.parley", metadata=metadata), *more]
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code, message=message, details=packed)


def calculator_answer(text: str = "17 * 23 is 391.") -> list[chat_pb2.ChatEvent]:
    """The events of an answer that used one tool."""
    call = message_pb2.ToolCall(id="c1", name="calculator", arguments='{"expression": "17 * 23"}')
    took = duration_pb2.Duration(nanos=3_000_000)
    result = chat_pb2.ToolCallResult(call_id="c1", name="calculator", content='{"result":391}', duration=took)
    return [
        chat_pb2.ChatEvent(started=chat_pb2.ChatStarted(run_id=RUN_ID, model="toy", prompt_tokens=7)),
        chat_pb2.ChatEvent(reasoning_delta=chat_pb2.ReasoningDelta(text="It needs\n")),
        chat_pb2.ChatEvent(reasoning_delta=chat_pb2.ReasoningDelta(text="a calculator.")),
        chat_pb2.ChatEvent(tool_call_delta=chat_pb2.ToolCallDelta(id="c1", name="calculator")),
        chat_pb2.ChatEvent(tool_call=chat_pb2.ToolCallReady(call=call, round=1)),
        chat_pb2.ChatEvent(
            tool_progress=chat_pb2.ToolCallProgress(call_id="c1", fraction=0.5, message="half")
        ),
        chat_pb2.ChatEvent(tool_result=result),
        *(
            chat_pb2.ChatEvent(content_delta=chat_pb2.ContentDelta(text=part))
            for part in (text[:4], text[4:])
        ),
        chat_pb2.ChatEvent(usage=chat_pb2.Usage(prompt_tokens=30, completion_tokens=12, turns=2)),
        chat_pb2.ChatEvent(finished=chat_pb2.ChatFinished(reason=chat_pb2.FINISH_REASON_STOP)),
    ]


@dataclass
class ToyPlatform:
    """What the platform shall answer, and what it was asked."""

    events: list[chat_pb2.ChatEvent] = field(default_factory=calculator_answer)
    hang: bool = False
    """Whether a chat goes on for ever after its events."""
    cuts: list[int] = field(default_factory=list)
    """Numbers of events after which the stream of a chat is cut, each once."""
    cut_as: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    """What the client's gRPC makes of a cut."""
    failures: dict[str, status_pb2.Status] = field(default_factory=dict)
    """Method name to the status that it fails with."""
    lapses: int = 0
    """Calls that the platform is unavailable for before it answers."""
    ended: set[str] = field(default_factory=set)
    """Tokens whose time is over, whatever the client's clock says."""
    unavailable: str = ""
    """Why its tool is off."""
    permissions: tuple[str, ...] = ("*",)
    """What the caller's token permits."""
    answers: dict[str, Any] = field(default_factory=dict)
    """Method name to what is answered, of the services that have no servicer here."""
    token_seconds: int = 900
    must_change_password: bool = False
    requests: list[Any] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    """Of the last call."""
    chat_ended: threading.Event = field(default_factory=threading.Event)
    refreshed: list[str] = field(default_factory=list)
    exchanged: list[str] = field(default_factory=list)
    health: dict[str, int] = field(default_factory=dict)
    address: str = ""

    async def enter(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Notes a call, and fails it where it shall fail."""
        self.requests.append(request)
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        status = self.failures.get(type(request).__name__.removesuffix("Request"))
        if status is not None:
            await fail(context, status)
        if self.metadata.get("authorization", "").removeprefix("Bearer ") in self.ended:
            await fail(context, failure(code_pb2.UNAUTHENTICATED, "TOKEN_EXPIRED", "The token has ended."))
        if self.lapses:
            self.lapses -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")

    def sent(self, events: Iterable[chat_pb2.ChatEvent]) -> list[chat_pb2.ChatEvent]:
        """The events as they go out: numbered from 1."""
        numbered = []
        for sequence, event in enumerate(events, 1):
            numbered.append(chat_pb2.ChatEvent.FromString(event.SerializeToString()))
            numbered[-1].sequence = sequence
        return numbered


async def fail(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))
