from __future__ import annotations

import asyncio

import pytest

from services.inference.engine.port import Engine
from services.inference.errors import EngineFailed, ModelNotReady
from services.inference.lifecycle import EngineDiedError, Load, ModelLife
from services.inference.models import Models
from services.inference.preflight import StartError
from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Limit, Owner, RunRegistry
from tests.conftest import TokenMaker
from tests.inference.scripted import Gate, ScriptedEngine

CALLER = TokenMaker().principal("models.*")


class Health:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.serving = asyncio.Event()

    async def set_serving(self, serving: bool) -> None:
        self.told.append(serving)
        if serving:
            self.serving.set()


def loads(engine: Engine) -> Load:
    async def load() -> Engine:
        return engine

    return load


def life(engine: Engine, models: Models, runs: RunRegistry, health: Health) -> ModelLife:
    return ModelLife("m", loads(engine), models, runs, health.set_serving)


async def test_it_serves_after_the_model_answered_and_not_before() -> None:
    gate, health, models = Gate(), Health(), Models("m")
    engine = ScriptedEngine([gate])
    living = asyncio.create_task(life(engine, models, RunRegistry(), health).run(5))
    await asyncio.wait_for(gate.reached.wait(), 5)
    assert health.told == []
    with pytest.raises(ModelNotReady):
        models.engine("m", CALLER)
    gate.open.set()
    await asyncio.wait_for(health.serving.wait(), 5)
    assert models.engine("", CALLER) is engine
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    assert engine.closed


async def test_death_turns_health_waits_for_the_runs_and_ends_the_process() -> None:
    health, models, runs, engine = Health(), Models("m"), RunRegistry(), ScriptedEngine()
    living = asyncio.create_task(life(engine, models, runs, health).run(5))
    await asyncio.wait_for(health.serving.wait(), 5)
    limit = Limit(asyncio.get_running_loop().time() + 60, FinishReason.TIME_LIMIT)
    with runs.open(Owner("t", "u"), limit):
        engine.died.set()
        while len(health.told) < 2:  # noqa: ASYNC110 - the fake is told, it does not tell
            await asyncio.sleep(0)
        assert not living.done()
    with pytest.raises(EngineDiedError):
        await asyncio.wait_for(living, 5)
    assert health.told == [True, False]
    assert engine.closed
    with pytest.raises(ModelNotReady):
        models.engine("m", CALLER)


async def test_a_model_that_does_not_load_in_time() -> None:
    async def load() -> Engine:
        await asyncio.Event().wait()
        raise AssertionError

    never = ModelLife("m", load, Models("m"), RunRegistry(), Health().set_serving)
    with pytest.raises(StartError, match="did not load"):
        await never.run(0.01)


async def test_a_model_that_does_not_answer_in_time() -> None:
    engine = ScriptedEngine([Gate()])
    with pytest.raises(StartError, match="did not answer"):
        await life(engine, Models("m"), RunRegistry(), Health()).run(0.05)
    assert engine.closed
    assert engine.running == 0


async def test_a_model_that_fails_while_it_warms_up() -> None:
    engine, health = ScriptedEngine([EngineFailed("m")]), Health()
    with pytest.raises(StartError, match="did not answer"):
        await life(engine, Models("m"), RunRegistry(), health).run(5)
    assert health.told == []
