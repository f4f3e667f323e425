"""An engine in tests: running, what it is asked, and what it said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.options import RawPrompt
from services.inference.engine.port import Engine
from services.inference.engine.turn import Message, Role, Sampling, ToolSpec, Turn
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    Step,
    TurnEnd,
)
from services.inference.settings import EngineSettings
from tests.unmeasured import unmeasured

REAL_ENGINE = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first test waits for the engine, which two busy cores make slow
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own, which nobody here can mend
]
"""The marks of a test on a real engine."""

CALCULATOR = ToolSpec("calculator", "Calculates.", {"type": "object"})
GREEDY = Sampling(temperature=0)
# JSON may have them nearly anywhere, and this model would write nothing else.
BLANKS = " \n\t\r"


def user(text: str, *, tools: tuple[ToolSpec, ...] = (), sampling: Sampling = GREEDY, **fields: Any) -> Turn:
    return Turn((Message(Role.USER, text),), tools, sampling, **fields)


@asynccontextmanager
async def running(model: Path, **fields: Any) -> AsyncIterator[Engine]:
    """An engine with this model, until the block's end."""
    from services.inference.vllm.engine import VllmEngine

    settings = EngineSettings(model=str(model), name="tiny", kv_cache_bytes=64 * 2**20, **fields)
    with unmeasured():
        engine = await asyncio.to_thread(VllmEngine.load, settings)
    try:
        yield engine
    finally:
        await engine.close()


async def answer(engine: Engine, turn: Turn, request_id: str, most: int = 64) -> list[Step]:
    prompt = await engine.render(turn)
    steps = engine.generate(prompt, max_output_tokens=most, request_id=request_id)
    async with aclosing(steps):
        return [step async for step in steps]


def said(steps: list[Step]) -> list[Delta]:
    return [delta for step in steps for delta in step.deltas]


def text_of(steps: list[Step], kind: type[ContentDelta] | type[ReasoningDelta]) -> str:
    return "".join(delta.text for delta in said(steps) if isinstance(delta, kind))


def ending(steps: list[Step]) -> TurnEnd:
    end = steps[-1].end
    assert end is not None
    return end


def greedy(**fields: Any) -> Sampling:
    return Sampling(temperature=0, **fields)


def raw(text: str, *, echo: bool = False, sampling: Sampling = GREEDY) -> Turn:
    return Turn((), sampling=sampling, raw=RawPrompt(text, echo=echo))


async def without(engine: Engine, characters: str) -> Sampling:
    """Sampling that says these only where nothing else may be said."""
    banned = await engine.tokenize(characters, special=False)
    return greedy(logit_bias=dict.fromkeys(banned, -100.0))
