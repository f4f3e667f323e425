"""The port to an engine: what the rest of inference knows of a running model.

Everything here is the domain's own. An engine renders a turn into a prompt and
generates it as steps; whoever stops reading frees its slot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Protocol


class Role(StrEnum):
    """Who said a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model wrote it.

    Attributes:
        id: Names the call within its conversation.
        name: The tool's name.
        arguments: JSON text, or what the model took for it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; see `parley.inference.v1.Message`."""

    role: Role
    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it.

    Attributes:
        name: The name by which it is called.
        description: What it does.
        parameters: The JSON Schema of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None takes the model's generation default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model is to answer.

    Attributes:
        messages: The conversation, oldest first.
        tools: The tools that it may call.
        sampling: How tokens are chosen.
        reasoning: Whether to reason first; None leaves it to the chat template.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    reasoning: bool | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered turn.

    Attributes:
        tokens: How many tokens it has.
        native: What the engine that rendered it needs to generate.
        identity: Digest of all of it that the model is given; empty where the
            engine cannot tell, and then its answer is not shared.
    """

    tokens: int
    native: object = field(default=None, repr=False)
    identity: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More of the answer."""

    text: str


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
    """Tokens of one turn so far; see `parley.inference.v1.Usage`."""

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
    """How a turn ended.

    Attributes:
        reason: Why.
        calls: The tool calls that it made, complete, in order.
    """

    reason: StopReason
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of the engine added to a turn.

    Attributes:
        deltas: What was said; empty where the engine holds text back.
        usage: The turn's tokens so far; with `end`, exact.
        end: Set in the last step alone.
    """

    deltas: tuple[Delta, ...]
    usage: TurnUsage
    end: TurnEnd | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model can do.

    Attributes:
        name: The name by which requests ask for it.
        context_length: Tokens of prompt and answer together.
        max_output_tokens: Tokens of a turn where the request sets no limit;
            None allows what the context has left.
        supports_reasoning: Whether it reasons before it answers.
        supports_tools: Whether it can call tools.
        fingerprint: Digest of what decides how it answers: weights, template,
            parsers, number type, the engine's release. Empty where that is not
            known, and then its answers are not shared.
    """

    name: str
    context_length: int
    max_output_tokens: int | None = None
    supports_reasoning: bool = False
    supports_tools: bool = False
    fingerprint: str = ""


class CacheState(Enum):
    """What the cache had of a turn."""

    UNUSED = "unused"
    MISS = "miss"
    HIT = "hit"
    SHARED = "shared"


def no_ceiling() -> None:
    """The ceiling of a turn that may have all that it asked for."""


class Engine(Protocol):
    """A running model."""

    @property
    def card(self) -> ModelCard:
        """What the model can do."""
        ...

    @property
    def running(self) -> int:
        """Requests that wait for or hold a slot."""
        ...

    async def render(self, turn: Turn) -> Prompt:
        """Render a turn with the model's chat template.

        Raises:
            MessagesInvalid: The template refuses the messages.
            ContextOverflow: The text cannot fit, whatever its tokens.
            EngineFailed: The engine is dead.
        """
        ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
    ) -> AsyncGenerator[Step, None]:
        """Answer a prompt that `render` made. Closing the generator frees the slot at once.

        Args:
            prompt: The prompt.
            max_output_tokens: At least 1, and no more than the context has left.
            request_id: Names the request in the engine; each is used once.
            ceiling: Tells how many tokens the turn may have by now. No step goes
                beyond it: what the engine has beyond comes with the next one,
                for which who reads asks only when it was raised.

        Raises:
            EngineFailed: The engine stopped or gave the request up.
            OutputUnparseable: What the model said breaks its own format.
        """
        ...

    async def failed(self) -> None:
        """Return when the engine has died, and not before."""
        ...

    async def close(self) -> None:
        """End the engine and its processes."""
        ...


class TurnSource(Protocol):
    """What answers the turns of one run: an engine, or what it said before, or says for others."""

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        ...

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        ...

    async def foresee(self, prompt: Prompt, max_output_tokens: int) -> CacheState:
        """Tell where a turn will come from; `generate`, asked for the same, takes it from there."""
        ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
    ) -> AsyncGenerator[Step, None]:
        """See `Engine.generate`."""
        ...
