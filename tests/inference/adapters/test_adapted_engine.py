"""An engine with an adapter: what it is told apart by, and who keeps it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from services.inference.adapters.adapted_engine import AdaptedEngine, in_use
from services.inference.adapters.port import Adapter
from services.inference.engine.port import Engine, Prompt
from services.inference.engine.turn import Message, Role, Sampling, Turn
from services.inference.errors import ModelNotFound
from services.inference.turn_cache.key import TurnRequest
from tests.inference.adapters.conftest import taking
from tests.inference.scripted import CARD, ScriptedEngine

TURN = Turn((Message(Role.USER, "Hi"),), sampling=Sampling(temperature=0))


class Identified(ScriptedEngine):
    """Tells what the model is given, as the real engine does."""

    async def render(self, turn: Turn) -> Prompt:
        return replace(await super().render(turn), identity=b"prompt")


def adapter(revision: str, number: int = 1) -> Adapter:
    return Adapter("scripted:polite", revision, number, Path("polite"))


async def test_nothing_is_shared_with_the_base_model_or_another_revision() -> None:
    base = Identified(card=replace(CARD, fingerprint="f" * 64))
    engines: list[Engine] = [base, *(AdaptedEngine(base, adapter(revision)) for revision in ("one", "two"))]
    prompts = [await engine.render(TURN) for engine in engines]
    assert len({prompt.identity for prompt in prompts}) == 3
    assert len({engine.card.fingerprint for engine in engines}) == 3
    # As if only the cards told them apart.
    same = prompts[0]
    assert len({TurnRequest("t", engine.card, same, TURN, 9).key(b"") for engine in engines}) == 3
    assert [prompt.adapter for prompt in prompts] == [None, adapter("one"), adapter("two")]


async def test_what_cannot_be_told_apart_is_not_shared_with_an_adapter_either() -> None:
    engine = AdaptedEngine(ScriptedEngine(), adapter("one"))
    prompt = await engine.render(TURN)
    assert (engine.card.fingerprint, prompt.identity) == ("", b"")


async def test_it_is_kept_for_a_run_and_for_a_turn_that_outlives_it() -> None:
    base = taking()
    engine = AdaptedEngine(base, adapter("one"))
    assert base.adapter_host is not None
    await base.adapter_host.add(adapter("one"))
    prompt = await engine.render(TURN)
    with in_use(engine), in_use(base):
        steps = engine.generate(prompt, max_output_tokens=9, request_id="r")
        await anext(steps)
        assert (engine.runs, engine.is_used) == (1, True)
    async with aclosing(steps):
        assert (engine.runs, engine.is_used) == (0, True)
    assert not engine.is_used
    await engine.wait_until_unused()


async def test_one_that_is_gone_is_no_model() -> None:
    engine = AdaptedEngine(ScriptedEngine(), adapter("one"))
    engine.is_gone = True
    with pytest.raises(ModelNotFound):
        await anext(engine.generate(await engine.render(TURN), max_output_tokens=9, request_id="r"))
