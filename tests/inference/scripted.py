"""An engine and a toolbox that follow a script and count what is running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from parley.tools.v1 import tool_pb2
from services.inference.adapters.errors import AdapterInvalid
from services.inference.adapters.port import Adapter
from services.inference.calling.catalogue import ServerTool
from services.inference.calling.errors import ToolNotOffered
from services.inference.calling.tool_calls import Offer, ToolSelection
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.status import EngineStatus
from services.inference.engine.turn import ToolCall, ToolSpec, Turn
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
    TurnUsage,
)
from services.inference.runs.events import CallResult, CallUpdate
from services.inference.runs.turn_source import CacheState
from services.ledger.limits import Payer, Terms

# The scripted model's tokens are bytes, and one more that begins a text.
BEGIN = 256
CARD = ModelCard(
    "scripted", context_length=1000, supports_reasoning=True, supports_tools=True, vocabulary_size=257
)


class Gate:
    """A place in a script where it waits; `reached` tells that it does."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.open.wait()


Line = Delta | Gate | Exception | TurnEnd | Step


def says(*texts: str) -> list[Line]:
    """A turn that says this and stops."""
    return [*(ContentDelta(text) for text in texts), TurnEnd(StopReason.STOP)]


def calls(*made: ToolCall) -> list[Line]:
    """A turn that reasons and makes these calls."""
    lines: list[Line] = [ReasoningDelta("I need a tool.")]
    for index, call in enumerate(made):
        lines.append(ToolCallDelta(index, call.id, call.name, ""))
        lines.append(ToolCallDelta(index, "", "", call.arguments))
    return [*lines, TurnEnd(StopReason.STOP, made)]


class ScriptedHost:
    """Holds two adapters; `refuses` says why it takes no more."""

    most_adapters = 2
    most_rank = 16

    def __init__(self) -> None:
        self.held: dict[int, Adapter] = {}
        self.refuses = ""

    async def add(self, adapter: Adapter) -> None:
        if self.refuses:
            raise AdapterInvalid(adapter.folder.name, self.refuses)
        self.held[adapter.number] = adapter
        assert len(self.held) <= self.most_adapters

    async def remove(self, adapter: Adapter) -> None:
        self.held.pop(adapter.number, None)


class ScriptedEngine:
    """Follows one script a turn. Every line costs one token; a prompt costs ten a message.

    An adapter that answers must be held; `answered_by` has the revision of each turn's, empty for none.
    """

    def __init__(self, *turns: Sequence[Line], card: ModelCard = CARD) -> None:
        self.card = card
        self.rendered: list[Turn] = []
        self.budgets: list[int] = []
        self.request_ids: list[str] = []
        self.died = asyncio.Event()
        self.closed = False
        self.adapter_host: ScriptedHost | None = None
        self.answered_by: list[str] = []
        self.prompt_tokens: Callable[[Turn], int] = lambda turn: 10 * len(turn.messages)
        self.rendering: Gate | Exception | None = None
        self._turns = list(turns)
        self._running: set[str] = set()

    def script(self, *turns: Sequence[Line]) -> None:
        """What the next turns say."""
        self._turns = list(turns)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def slots(self) -> int:
        return 64

    @property
    def status(self) -> EngineStatus:
        return EngineStatus(running_requests=self.running, kv_cache_use=0.25, prefix_queries=8, prefix_hits=4)

    async def render(self, turn: Turn) -> Prompt:
        self.rendered.append(turn)
        if isinstance(self.rendering, Gate):
            await self.rendering.wait()
        elif self.rendering is not None:
            raise self.rendering
        return Prompt(self.prompt_tokens(turn))

    async def foresee(self, prompt: Prompt, max_output_tokens: int) -> CacheState:
        return CacheState.UNUSED

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        self.budgets.append(max_output_tokens)
        self.request_ids.append(request_id)
        self._running.add(request_id)
        if prompt.adapter is not None:
            assert self.adapter_host is not None
            assert prompt.adapter.number in self.adapter_host.held
        self.answered_by.append(prompt.adapter.revision if prompt.adapter else "")
        script = self._turns.pop(0) if self._turns else says("Hello.")
        try:
            for spent, line in enumerate(script, start=1):
                usage = TurnUsage(prompt.tokens, spent, 4, 0)
                match line:
                    case Gate():
                        await line.wait()
                    case Exception():
                        raise line
                    case Step():
                        yield line
                    case TurnEnd():
                        yield Step((), usage, line, choice_tokens=spent)
                    case _:
                        yield Step((line,), usage, choice_tokens=spent)
        finally:
            self._running.discard(request_id)

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        return (*((BEGIN,) if special else ()), *text.encode())

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        return b"".join(await self.token_texts([each for each in token_ids if each < BEGIN])).decode()

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        return tuple(bytes([each]) if each < BEGIN else b"<s>" for each in token_ids)

    async def failed(self) -> None:
        await self.died.wait()

    async def close(self) -> None:
        self.closed = True


Answer = str | Gate | CallUpdate | Exception


@dataclass
class ScriptedToolbox:
    """Answers calls by the tool's name; unknown ones with `{}`."""

    tools: tuple[ServerTool, ...] = ()
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    error: Exception | None = None
    offer_error: Offer | None = None
    executed: list[tuple[ToolCall, ...]] = field(default_factory=list)
    conversations: list[str] = field(default_factory=list)
    running: int = 0

    async def offer(self, selection: ToolSelection) -> Offer:
        if self.offer_error is not None:
            return self.offer_error
        known = {tool.spec.name: tool for tool in self.tools}
        for name in selection.names:
            if name not in known:
                raise ToolNotOffered(name, known)
        return Offer(self.tools if selection.all else tuple(known[name] for name in selection.names))

    async def execute(
        self, calls: Sequence[ToolCall], conversation_id: str = ""
    ) -> AsyncGenerator[CallUpdate, None]:
        self.executed.append(tuple(calls))
        self.conversations.append(conversation_id)
        self.running += 1
        try:
            for call in calls:
                for answer in self.answers.get(call.name, ("{}",)):
                    match answer:
                        case Gate():
                            await answer.wait()
                        case Exception():
                            raise answer
                        case str():
                            yield CallResult(call, answer, None, 0.001)
                        case _:
                            yield answer
        finally:
            self.running -= 1


def tool(name: str, level: tool_pb2.SafetyLevel = tool_pb2.SAFETY_LEVEL_SAFE) -> ServerTool:
    """A tool of this name."""
    spec = ToolSpec(name, f"Does {name}.", {"type": "object"})
    return ServerTool(spec, level, f"tools.math.{name}")


class FullPurse:
    """Pays for everything, and remembers for what."""

    def __init__(self, tokens: int = 10**9) -> None:
        self.tokens = tokens
        self.prompts: list[int] = []

    async def open(self, prompt_tokens: int) -> None:
        self.prompts.append(prompt_tokens)

    async def begin_turn(self, prompt_tokens: int, used: int) -> bool:
        self.prompts.append(prompt_tokens)
        return prompt_tokens + used < self.tokens

    def covers(self, used: int) -> bool:
        return self.prompts[-1] + used < self.tokens

    async def wait_for_more(self, used: int) -> bool:
        return self.covers(used)

    def ceiling(self, used_before: int) -> Callable[[], int | None]:
        return no_ceiling


class NoLimits:
    """Holds every caller to these terms; to none by default."""

    def __init__(self, terms: Terms | None = None) -> None:
        self.held_to = terms or Terms()

    async def terms(self, payer: Payer) -> Terms:
        return self.held_to
