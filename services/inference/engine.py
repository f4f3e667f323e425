"""The port to an engine: what the rest of inference knows of a running model.

Everything here is the domain's own. An engine renders a turn into a prompt and
generates it as steps; whoever stops reading frees its slot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any, Protocol

from services.inference.adapters.port import Adapter, AdapterHost
from services.inference.engine_status import EngineStatus
from services.inference.images import Image, ImageLimits
from services.inference.logprobs import TokenLogprob
from services.inference.options import Effort, OutputForm, RawPrompt, ToolChoice


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
    """One message; see `parley.inference.v1.Message`. Its images say where in the text they stand."""

    role: Role
    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    images: tuple[Image, ...] = ()


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
    """How tokens are chosen; None takes the model's generation default.

    `parley.inference.v1.SamplingOptions` says what each means.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    min_output_tokens: int = 0
    ignore_eos: bool = False
    choice_count: int = 1
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model is to answer.

    Attributes:
        messages: The conversation, oldest first.
        tools: The tools that it may call.
        sampling: How tokens are chosen.
        reasoning: Whether to reason first; None leaves it to the chat template.
        effort: How much to reason; None leaves it to the chat template.
        tool_choice: Whether it must call tools.
        parallel_calls: Whether it may make several calls.
        form: The form that the answer is held to, if any.
        raw: What is gone on with instead of messages.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    reasoning: bool | None = None
    effort: Effort | None = None
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_calls: bool = True
    form: OutputForm | None = None
    raw: RawPrompt | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered turn.

    Attributes:
        tokens: How many tokens it has.
        native: What the engine that rendered it needs to generate.
        identity: Digest of all of it that the model is given; empty where the
            engine cannot tell, and then its answer is not shared.
        token_ids: Its tokens.
        choices: How many answers to it are generated at once.
        adapter: What answers it instead of the model alone.
    """

    tokens: int
    native: object = field(default=None, repr=False)
    identity: bytes = field(default=b"", repr=False)
    token_ids: Sequence[int] = field(default=(), repr=False)
    choices: int = 1
    adapter: Adapter | None = None


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


class Capability(Enum):
    """What a model can do; the names are those of the contract, without their prefix."""

    CHAT = auto()
    COMPLETE = auto()
    STRUCTURED_OUTPUT = auto()
    LOGPROBS = auto()
    IMAGES = auto()


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
        vocabulary_size: How many tokens it knows; their ids are below this.
        revision: Which weights it has.
        capabilities: What else it can do.
        embedding_dimensions: Numbers of its embeddings; 0 for a model that chats.
        image_limits: What requests may bring of images; None where it takes none.
    """

    name: str
    context_length: int
    max_output_tokens: int | None = None
    supports_reasoning: bool = False
    supports_tools: bool = False
    fingerprint: str = ""
    vocabulary_size: int = 0
    revision: str = ""
    capabilities: frozenset[Capability] = frozenset()
    embedding_dimensions: int = 0
    image_limits: ImageLimits | None = None

    @property
    def supports_embeddings(self) -> bool:
        """Whether it embeds; such a model cannot chat."""
        return self.embedding_dimensions > 0


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

    @property
    def slots(self) -> int:
        """How many requests it generates at once; more wait within it."""
        ...

    @property
    def status(self) -> EngineStatus:
        """How it is doing, as of its last step."""
        ...

    @property
    def adapter_host(self) -> AdapterHost | None:
        """What loads adapters of the model; None where it takes none."""
        ...

    async def render(self, turn: Turn) -> Prompt:
        """Render a turn with the model's chat template, or tokenize its raw prompt.

        Raises:
            MessagesInvalid: The template refuses the messages.
            ContextOverflow: The text cannot fit, whatever its tokens.
            ModelLacks: The model cannot do what the turn asks for; `ImageReader.pixels` says what of images.
            StructuredOutputInvalid: The form does not compile.
            StructuredOutputTooComplex: It takes too much to compile.
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
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        """Answer a prompt that `render` made. Closing the generator frees the slot at once.

        Steps of several choices come in any order.

        Args:
            prompt: The prompt.
            max_output_tokens: For each choice: at least 1, and no more than the context has left.
            request_id: Names the request in the engine; each is used once.
            ceiling: Tells how many tokens the turn may have by now. No step goes
                beyond it: what the engine has beyond comes with the next one,
                for which who reads asks only when it was raised.
            said: Tokens of the answer that were said before, fewer than `max_output_tokens`:
                the first step has their text, and the answer goes on after them.

        Raises:
            EngineFailed: The engine stopped or gave the request up.
            OutputUnparseable: What the model said breaks its own format.
        """
        ...

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """The tokens of a text; `special` adds those that the model wants at its beginning.

        Raises:
            ContextOverflow: The text cannot fit the context, whatever its tokens.
        """
        ...

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of tokens, all of which the vocabulary has."""
        ...

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """The text of each token, in UTF-8."""
        ...

    async def failed(self) -> None:
        """Return when the engine has died, and not before."""
        ...

    async def close(self) -> None:
        """End the engine and its processes."""
        ...
