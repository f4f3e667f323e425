"""The steps of an answer: what an engine said since the step before, and how a turn ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.inference.engine.turn import ToolCall
from services.inference.reading.logprobs import TokenLogprob


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More reasoning, of a choice; `logprobs` has the tokens since the delta before, if asked for."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More of the answer, as `ReasoningDelta` has it. Without text only where there are log-probabilities."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a call; `id` and `name` come with the call's first delta only."""

    index: int
    id: str
    name: str
    arguments: str


Delta = ReasoningDelta | ContentDelta | ToolCallDelta


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """Tokens of one turn so far, of all its choices; see `parley.inference.v1.Usage`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    reasoning_tokens: int = 0
    reused_tokens: int = 0


class StopReason(Enum):
    """Why a turn ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn, or one of its choices, ended.

    Attributes:
        reason: Why.
        calls: The tool calls that it made, complete, in order.
        stop_text: The stop text that ended it, if one did.
    """

    reason: StopReason
    calls: tuple[ToolCall, ...] = ()
    stop_text: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of the engine added to a choice of a turn.

    Attributes:
        deltas: What was said; empty where the engine holds text back.
        usage: The turn's tokens so far; with `end`, exact.
        end: Set in the choice's last step alone.
        choice: The choice, counted from 0.
        choice_tokens: The choice's tokens so far.
        token_ids: The tokens that the step added; empty where they are not known.
    """

    deltas: tuple[Delta, ...]
    usage: TurnUsage
    end: TurnEnd | None = None
    choice: int = 0
    choice_tokens: int = 0
    token_ids: tuple[int, ...] = ()
