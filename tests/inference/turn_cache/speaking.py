"""An engine that says of each prompt the same, and runs as one run sees them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.turn import Message, Role, Sampling, ToolCall, Turn
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
from services.inference.runs.order import CacheMode
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.source import SharedTurns

CARD = ModelCard("scripted", context_length=1000, fingerprint="weights-1")
GREEDY = Sampling(temperature=0)


def turn(text: str = "Hi", sampling: Sampling = GREEDY) -> Turn:
    return Turn((Message(Role.USER, text),), sampling=sampling)


class SpeakingEngine:
    """Reasons, answers with the question's own words, and makes a call whose id is new each time.

    Attributes:
        begun: Turns that it began.
        running: Turns that it is saying.
        holds_at: It says so many tokens and waits until `released`.
        fails_with: Raised where it would wait.
        reached: Set when it waits.
        tail: Its last words.
        brief: Whether it says one word alone.
        choices: How many answers it gives, one after another.
    """

    def __init__(self, card: ModelCard = CARD) -> None:
        self.card = card
        self.begun = 0
        self.running = 0
        self.holds_at = 10**9
        self.released = asyncio.Event()
        self.reached = asyncio.Event()
        self.fails_with: Exception | None = None
        self.tail = "the end"
        self.brief = False
        self.choices = 1

    async def render(self, turn: Turn) -> Prompt:
        text = "\n".join(message.content for message in turn.messages)
        return Prompt(len(text), text, hashlib.sha256(text.encode()).digest())

    def _deltas(self, prompt: Prompt) -> list[Delta]:
        if self.brief:
            return [ContentDelta(f"{prompt.native}!")]
        call = f"call-{id(self)}-{self.begun}"
        words = f"You said: {prompt.native}, {self.tail}".split(" ")
        return [
            ReasoningDelta("Let me "),
            ReasoningDelta("think."),
            *(ContentDelta(f"{word} ") for word in words),
            ToolCallDelta(0, call, "calculator", ""),
            ToolCallDelta(0, "", "", '{"a":'),
            ToolCallDelta(0, "", "", "1}"),
        ]

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        self.begun += 1
        self.running += 1
        deltas = self._deltas(prompt)
        calls = tuple(
            ToolCall(delta.id, "calculator", '{"a":1}')
            for delta in deltas
            if isinstance(delta, ToolCallDelta) and delta.id
        )
        try:
            for spent, delta in enumerate(deltas, start=1):
                if spent > self.holds_at:
                    await self._hold()
                yield Step((delta,), TurnUsage(prompt.tokens, spent, 4))
            for choice in range(self.choices):
                usage = TurnUsage(prompt.tokens, len(deltas) + 1 + choice, 4, 2)
                yield Step((), usage, TurnEnd(StopReason.STOP, calls), choice)
        finally:
            self.running -= 1

    async def _hold(self) -> None:
        self.reached.set()
        if self.fails_with is None:
            await self.released.wait()
        if self.fails_with is not None:
            raise self.fails_with

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class Asker:
    """One run's turn: asks, and reads as far as it is told to."""

    def __init__(
        self,
        engine: SpeakingEngine,
        cache: TurnCache | None,
        asked: Turn | None = None,
        *,
        tenant: str = "tenant-1",
        mode: CacheMode = CacheMode.DETERMINISTIC,
        most: int = 100,
    ) -> None:
        self.turns = SharedTurns(engine, cache, tenant, mode)
        self.asked = asked or turn()
        self.most = most
        self.steps: list[Step] = []
        self.state = ""
        self.stream: AsyncGenerator[Step, None] | None = None

    async def begin(self) -> str:
        prompt = await self.turns.render(self.asked)
        self.state = (await self.turns.foresee(prompt, self.most)).value
        self.stream = self.turns.generate(prompt, max_output_tokens=self.most, request_id="r")
        return self.state

    async def read(self, steps: int = 10**9) -> None:
        assert self.stream is not None
        while steps and (step := await anext(self.stream, None)) is not None:
            self.steps.append(step)
            steps -= 1

    async def leave(self) -> None:
        if self.stream is not None:
            await self.stream.aclose()
        await self.turns.leave()

    async def whole(self) -> str:
        """Ask, read to the end and leave; gives what the cache had of it."""
        await self.begin()
        await self.read()
        await self.leave()
        return self.state

    @property
    def deltas(self) -> list[Delta]:
        return [delta for step in self.steps for delta in step.deltas]

    @property
    def content(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, ContentDelta))

    @property
    def announced(self) -> list[str]:
        """The calls that were begun, by id."""
        return [delta.id for delta in self.deltas if isinstance(delta, ToolCallDelta) and delta.id]

    @property
    def made(self) -> list[str]:
        """The calls of the turn's end, by id."""
        return [call.id for step in self.steps if step.end is not None for call in step.end.calls]

    @property
    def reused(self) -> int:
        return self.steps[-1].usage.reused_tokens


def unmarked(steps: list[Step]) -> list[Step]:
    """The steps without what tells who generated them."""
    return [replace(step, usage=replace(step.usage, reused_tokens=0)) for step in steps]
