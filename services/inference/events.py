"""What happens in a run, as the domain knows it; `chat.proto` says what each means to a client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from google.rpc import status_pb2

from services.inference.engine import ContentDelta, ReasoningDelta, ToolCall, ToolCallDelta


class FinishReason(Enum):
    """Why a run ended. The names are those of the contract, without their prefix."""

    STOP = auto()
    LENGTH = auto()
    TOOL_CALLS = auto()
    ROUND_LIMIT = auto()
    CALL_LIMIT = auto()
    TIME_LIMIT = auto()
    BUDGET = auto()
    CANCELLED = auto()
    DEADLINE = auto()
    REVOKED = auto()
    SLOW_READER = auto()
    ERROR = auto()


@dataclass(frozen=True, slots=True)
class Started:
    """The run has begun.

    Attributes:
        model: The model that answers.
        prompt_tokens: Tokens of the first turn's prompt.
        tools: Names of the tools that the model was offered, sorted.
        tools_error: Why tools that were asked for could not be offered.
    """

    model: str
    prompt_tokens: int
    tools: tuple[str, ...] = ()
    tools_error: status_pb2.Status | None = None


@dataclass(frozen=True, slots=True)
class CallReady:
    """A call is complete and starts now, in this tool round, counted from 1."""

    call: ToolCall
    round: int


@dataclass(frozen=True, slots=True)
class CallProgress:
    """How far a call is; `fraction` is 0 to 1, or None where the tool cannot tell."""

    call_id: str
    fraction: float | None
    message: str


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended.

    Attributes:
        call: The call.
        content: The text that the model is given.
        error: Set when the call failed.
        seconds: From the call's start to its end.
    """

    call: ToolCall
    content: str
    error: status_pb2.Status | None
    seconds: float


@dataclass(frozen=True, slots=True)
class RunUsage:
    """Tokens used by a run, all turns together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    reasoning_tokens: int = 0
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over; `error` comes with `FinishReason.ERROR` alone."""

    reason: FinishReason
    error: status_pb2.Status | None = None


CallUpdate = CallProgress | CallResult
RunEvent = (
    Started
    | ReasoningDelta
    | ContentDelta
    | ToolCallDelta
    | CallReady
    | CallProgress
    | CallResult
    | RunUsage
    | Finished
)
