"""A chat as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from services.inference.calling.tool_calls import ToolSelection
from services.inference.engine.options import Effort, OutputForm, RawPrompt, ToolChoice
from services.inference.engine.turn import Message, Sampling, ToolSpec

ANSWER_SECONDS = 300.0
MAX_RESULT_BYTES = 32_768
MIN_RESULT_BYTES = 256
# Half a context of text, at the four bytes that a token of English has.
RESULT_BYTES_A_TOKEN = 2


class CacheMode(Enum):
    """Which turns the cache may answer, and keep."""

    DETERMINISTIC = auto()
    OFF = auto()
    ON = auto()


class ApprovalPolicy(Enum):
    """Whether somebody is asked about calls of dangerous tools."""

    DENY = auto()
    ASK = auto()


@dataclass(frozen=True, slots=True)
class Approvals:
    """What becomes of calls of dangerous tools.

    Attributes:
        policy: Whether somebody is asked.
        seconds: How long a decision is waited for.
        approved: Tools whose calls run without asking.
    """

    policy: ApprovalPolicy = ApprovalPolicy.DENY
    seconds: float = ANSWER_SECONDS
    approved: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ClientTools:
    """Tools that the client brings.

    Attributes:
        tools: The tools.
        waits: Whether the run waits for the client's answers; else it ends.
        seconds: How long an answer is waited for.
        unchecked: Whether calls whose arguments are no JSON object are the
            client's, too; else they go back to the model.
    """

    tools: tuple[ToolSpec, ...] = ()
    waits: bool = False
    seconds: float = ANSWER_SECONDS
    unchecked: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(tool.name for tool in self.tools)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use up.

    Attributes:
        max_tool_rounds: Turns in which the model may call tools.
        max_tool_calls: Calls in all rounds together.
        max_seconds: Time for the whole run.
        max_output_tokens: Tokens generated in all turns together; None for no limit.
        max_tool_corrections: Rounds in a row in which a tool's arguments may be refused.
        max_tool_result_bytes: Bytes of a result that the model is given; None
            goes by the model's context.
    """

    max_tool_rounds: int = 8
    max_tool_calls: int = 64
    max_seconds: float = 600.0
    max_output_tokens: int | None = None
    max_tool_corrections: int = 3
    max_tool_result_bytes: int | None = None

    def result_bytes(self, context_length: int) -> int:
        """Bytes of a result that a model of this context is given."""
        if self.max_tool_result_bytes is not None:
            return self.max_tool_result_bytes
        return min(MAX_RESULT_BYTES, max(MIN_RESULT_BYTES, RESULT_BYTES_A_TOKEN * context_length))


@dataclass(frozen=True, slots=True)
class ChatOrder:
    """A chat as it was asked for; with `raw`, a completion, which has no messages and no tools.

    `parley.inference.v1.ChatRequest` says what each means. Of its answer, text is
    held back for `event_delay_seconds` at most; None leaves that to the load.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    reasoning: bool | None = None
    tools: ToolSelection = field(default_factory=ToolSelection)
    limits: Limits = field(default_factory=Limits)
    client_tools: ClientTools = field(default_factory=ClientTools)
    approvals: Approvals = field(default_factory=Approvals)
    conversation_id: str = ""
    continues: bool = False
    cache: CacheMode = CacheMode.DETERMINISTIC
    effort: Effort | None = None
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_calls: bool = True
    form: OutputForm | None = None
    raw: RawPrompt | None = None
    resume_seconds: float = 0.0
    event_delay_seconds: float | None = None
