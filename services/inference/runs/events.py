"""What happens in a run, as the domain knows it; `chat.proto` says what each means to a client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from google.rpc import status_pb2

from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta, ReasoningDelta, ToolCallDelta
from services.inference.runs.turn_source import CacheState


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
    TOKEN_LIMIT = auto()


@dataclass(frozen=True, slots=True)
class Started:
    """The run has begun.

    Attributes:
        model: The model that answers.
        prompt_tokens: Tokens of the first turn's prompt.
        tools: Names of the tools that the model was offered, sorted.
        tools_error: Why tools that were asked for could not be offered.
        cache: What the cache has of the first turn.
        alias: The alias that was asked for instead of a model, if one was.
        variant: The variant of it that the caller is given.
    """

    model: str
    prompt_tokens: int
    tools: tuple[str, ...] = ()
    tools_error: status_pb2.Status | None = None
    cache: CacheState = CacheState.UNUSED
    alias: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class CallReady:
    """A call is complete.

    Attributes:
        call: The call.
        round: Its tool round, counted from 1.
        client_side: Whether the client answers it.
        expires_at: Until when the client's answer is waited for, if it is.
    """

    call: ToolCall
    round: int
    client_side: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """A call runs only if somebody approves it.

    Attributes:
        call: The call.
        round: Its tool round, counted from 1.
        safety_level: The tool's, as the contract of tools numbers them.
        permission: The tool's.
        expires_at: When the call lapses.
    """

    call: ToolCall
    round: int
    safety_level: int
    permission: str
    expires_at: datetime


class ApprovalOutcome(Enum):
    """What was decided about a call. The names are those of the contract, without their prefix."""

    APPROVED = auto()
    DENIED = auto()
    LAPSED = auto()


@dataclass(frozen=True, slots=True)
class ApprovalDecided:
    """A call waits for approval no longer; `note` is what the decider had to say."""

    call_id: str
    outcome: ApprovalOutcome
    note: str = ""


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
        omitted_bytes: Bytes of the result that the content lacks.
    """

    call: ToolCall
    content: str
    error: status_pb2.Status | None
    seconds: float
    omitted_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunUsage:
    """Tokens used by a run, all turns together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    reasoning_tokens: int = 0
    turns: int = 0
    reused_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChoiceEnd:
    """How a choice of the last turn ended; `stop_text` is the stop text that ended it, if one did."""

    choice: int
    reason: FinishReason
    completion_tokens: int
    stop_text: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over.

    Attributes:
        reason: Why.
        error: Comes with `FinishReason.ERROR` alone.
        conversation_error: Why what was said is not kept in its conversation.
        choices: How each choice of the last turn ended.
    """

    reason: FinishReason
    error: status_pb2.Status | None = None
    conversation_error: status_pb2.Status | None = None
    choices: tuple[ChoiceEnd, ...] = ()


CallUpdate = CallProgress | CallResult
RunEvent = (
    Started
    | ReasoningDelta
    | ContentDelta
    | ToolCallDelta
    | CallReady
    | ApprovalNeeded
    | ApprovalDecided
    | CallProgress
    | CallResult
    | RunUsage
    | Finished
)
