"""The real engine with a tiny model of each of six large families: `make families`.

An engine for each, which takes a minute or so: too long for every change. The parsers themselves are
tested with every change, in `tests/inference/test_parser_cuts.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from services.inference.engine.port import Engine
from services.inference.engine.turn import Message, Role, Sampling, Turn
from services.inference.reading.parsers import choose
from services.inference.reading.step import ReasoningDelta
from services.inference.settings import EngineSettings
from tests.families.models import CONTEXT_LENGTH, MODELS, FamilyModel
from tests.inference.families import TOOLS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own, which nobody here can mend
]


@asynccontextmanager
async def running(model: FamilyModel, folder: Path) -> AsyncIterator[Engine]:
    from services.inference.vllm.engine import VllmEngine

    settings = EngineSettings(
        model=str(await asyncio.to_thread(model.make, folder)),
        name=model.family.name,
        kv_cache_bytes=64 * 2**20,
        max_context_length=CONTEXT_LENGTH,
    )
    engine = await asyncio.to_thread(VllmEngine.load, settings)
    try:
        yield engine
    finally:
        await engine.close()


@pytest.mark.parametrize("model", [pytest.param(each, id=each.family.name) for each in MODELS])
async def test_a_family_runs_and_is_read_by_its_own_parsers(model: FamilyModel, tmp_path: Path) -> None:
    family = model.family
    asked = (Message(Role.USER, "What time is it?"),)
    turn = Turn(asked, TOOLS, Sampling(temperature=0), reasoning=family.thinking)
    async with running(model, tmp_path) as engine:
        steps = engine.generate(await engine.render(turn), max_output_tokens=64, request_id="one")
        async with aclosing(steps):
            said = [step async for step in steps]
        parsers = choose(family.model_type, family.chat_template)
        supported = engine.card.supports_tools, engine.card.supports_reasoning
        assert supported == (bool(parsers.tools), bool(parsers.reasoning))
    deltas = [delta for step in said for delta in step.deltas]
    reasoned = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    assert reasoned.strip() == model.reasoning
    end = said[-1].end
    assert end is not None
    assert [(call.name, json.loads(call.arguments)) for call in end.calls] == list(model.calls)
