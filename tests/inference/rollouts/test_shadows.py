"""Variants that are asked in the shadow of an answer, over real mTLS gRPC and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from parley.inference.v1 import rollout_pb2
from services.inference.engine.turn import Message, Role, ToolCall
from services.inference.reading.step import ContentDelta
from services.inference.rollouts.counts import Counts
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.questions import QUESTIONS
from services.inference.rollouts.tally import Tally
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.rollouts.conftest import ALIAS, creation, variant
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.test_directory import pool, told
from tests.inference.test_servicer import chat, kinds, read, reason, refusal, with_tools

SECONDS = 20
SUM = ToolCall("call-1", "calculator", "{}")


def shadowed(percent: int = 100) -> list[rollout_pb2.RolloutVariant]:
    return [
        variant("plain", 100),
        variant("shadow", 0, system_prompt="Be brief.", shadow_percent=percent),
    ]


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await true():  # noqa: ASYNC110 - the store tells it
            await asyncio.sleep(0.05)


async def counted(store: Redis, rollout_id: str, runs: int) -> Tally:
    """What is known of the shadow, once it has so many runs."""

    async def tally() -> Tally:
        return (await Counts(store).total(rollout_id)).get("shadow", Tally())

    async def is_there() -> bool:
        return (await tally()).count("runs") >= runs

    await until(is_there)
    return await tally()


async def test_a_shadow_is_asked_the_same_and_nobody_hears_it(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis
) -> None:
    engine = ScriptedEngine(says("An ", "answer."), says("A ", "shadow."))
    async with replica(engine, rollouts=library) as process:
        begun = await process.rollouts.CreateRollout(creation(*shadowed()), metadata=operator)
        events = await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
        tally = await counted(store, begun.rollout.rollout_id, 1)
    text = "".join(event.content_delta.text for event in events)
    assert (text, events[0].started.variant, reason(events)) == ("An answer.", "plain", "STOP")
    answered, shadow = engine.rendered
    assert answered.messages == (Message(Role.USER, "Hi"),)
    assert shadow.messages == (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"))
    assert (tally.count("errors"), tally.count("first.count")) == (0, 1)


async def test_tools_that_a_shadow_calls_do_not_run(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis, tools_process: ToolsProcess
) -> None:
    engine = ScriptedEngine(says("An answer."), calls(SUM))
    metadata = operator
    async with replica(engine, rollouts=library) as process:
        begun = await process.rollouts.CreateRollout(creation(*shadowed()), metadata=operator)
        events = await read(process.stub.Chat(with_tools(model=ALIAS), metadata=metadata))
        tally = await counted(store, begun.rollout.rollout_id, 1)
    assert kinds(events)[-1] == "finished"
    assert not tools_process.service.calls
    assert [each.name for each in engine.rendered[1].tools] == [
        each.name for each in engine.rendered[0].tools
    ]
    assert (tally.count("errors"), tally.count("calls")) == (0, 0)


async def test_no_more_than_two_shadows_are_asked_at_once_and_none_holds_an_answer_up(
    replica: Replica, library: RolloutLibrary, operator: Any
) -> None:
    gate = Gate()
    waiting = [ContentDelta("A"), gate]
    engine = ScriptedEngine(says("1"), waiting, says("2"), waiting, says("3"), says("4"))
    async with replica(engine, rollouts=library) as process:
        await process.rollouts.CreateRollout(creation(*shadowed()), metadata=operator)
        for number in range(1, 5):
            events = await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
            assert "".join(event.content_delta.text for event in events) == str(number)
            if number <= 2:
                async with asyncio.timeout(SECONDS):
                    while engine.running < number:  # noqa: ASYNC110 - nobody else is told
                        await asyncio.sleep(0.01)
        assert (engine.running, len(engine.rendered)) == (2, 6)
    assert engine.running == 0


async def test_what_nobody_is_given_is_not_judged(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis
) -> None:
    engine = ScriptedEngine(says("An answer."), [RuntimeError("a fault")])
    held = rollout_pb2.RolloutGuardrails(max_error_rate=0.1, min_samples=1)
    async with replica(engine, rollouts=library) as process:
        begun = await process.rollouts.CreateRollout(
            creation(*shadowed(), guardrails=held), metadata=operator
        )
        await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
        tally = await counted(store, begun.rollout.rollout_id, 1)
        await asyncio.sleep(0)
        state = (await library.get("tenant-1", ALIAS)).state
    assert (tally.count("errors"), state) == (1, rollout_pb2.ROLLOUT_STATE_RUNNING)


@pytest.mark.parametrize(
    "variants",
    [
        [variant("plain", 90), variant("shadow", 10, shadow_percent=5)],
        [variant("plain", 0, shadow_percent=5), variant("other", 100)],
    ],
    ids=["with weight", "stable"],
)
async def test_only_what_can_be_a_shadow_is_one(
    replica: Replica, library: RolloutLibrary, operator: Any, variants: list[rollout_pb2.RolloutVariant]
) -> None:
    async with replica(ScriptedEngine(), rollouts=library) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await process.rollouts.CreateRollout(creation(*variants), metadata=operator)
    assert refusal(refused.value) == ("ROLLOUT_INVALID", {"field": "variants.shadow_percent"})


def of_another_pool() -> list[rollout_pb2.RolloutVariant]:
    return [
        variant("plain", 100),
        variant("shadow", 0, model="large", system_prompt="Be brief.", shadow_percent=100),
    ]


async def test_a_shadow_of_another_pool_is_asked_there(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis, tools_process: ToolsProcess
) -> None:
    engine, large = ScriptedEngine(says("An answer.")), ScriptedEngine(calls(SUM))
    async with (
        replica(engine, rollouts=library) as process,
        replica(large, rollouts=library, serves=("large",)) as other,
    ):
        await told(store, process.directory, other.directory)
        begun = await process.rollouts.CreateRollout(creation(*of_another_pool()), metadata=operator)
        events = await read(process.stub.Chat(with_tools(model=ALIAS), metadata=operator))
        tally = await counted(store, begun.rollout.rollout_id, 1)
    assert (events[0].started.variant, reason(events)) == ("plain", "STOP")
    (answered,), (shadow,) = engine.rendered, large.rendered
    assert shadow.messages == (Message(Role.SYSTEM, "Be brief."), *answered.messages)
    assert shadow.tools == answered.tools
    assert not tools_process.service.calls
    assert (tally.count("errors"), tally.count("calls")) == (0, 0)


async def test_a_pool_without_room_leaves_what_it_is_asked_to_others(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis
) -> None:
    gate, engine = Gate(), ScriptedEngine(says("1"), says("2"), says("3"))
    shadow = [gate, *says("A shadow.")]
    large = ScriptedEngine(shadow, shadow, shadow)
    async with (
        replica(engine, rollouts=library) as process,
        replica(large, rollouts=library, serves=("large",)) as other,
    ):
        await told(store, process.directory, other.directory)
        begun = await process.rollouts.CreateRollout(creation(*of_another_pool()), metadata=operator)
        for _ in range(3):
            await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))

        async def are_asked() -> bool:
            return large.running == 2

        await until(are_asked)
        assert await store.llen(QUESTIONS + "large") == 1
        gate.open.set()
        tally = await counted(store, begun.rollout.rollout_id, 3)
    assert tally.count("errors") == 0


@pytest.mark.parametrize("there", [True, False], ids=["there", "away"])
async def test_a_shadow_needs_the_permission_for_its_model(
    replica: Replica, library: RolloutLibrary, tokens: TokenMaker, store: Redis, there: bool
) -> None:
    """Who has none is not told whether there is such a model."""
    async with replica(ScriptedEngine(), rollouts=library) as process:
        if there:
            await told(store, pool("large"), process.directory)
        metadata = tokens.metadata("inference.*", "models.scripted")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await process.rollouts.CreateRollout(creation(*of_another_pool()), metadata=metadata)
    assert refusal(refused.value) == ("PERMISSION_MISSING", {"permission": "models.large"})
