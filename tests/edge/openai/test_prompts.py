"""Several prompts in one completion, as the official client brings them through the real edge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, InternalServerError, RateLimitError

from services.inference.errors import EngineFailed
from services.inference.reading.logprobs import TokenLogprob
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from services.ledger.limits import Terms
from tests.edge.openai.conftest import MARKS, MODEL, Surface
from tests.inference.endless import terms
from tests.inference.scripted import Gate, Line, says

pytestmark = MARKS

SECONDS = 15
ENDLESS = [ContentDelta("on "), Gate()]


def twice(*texts: str) -> list[Line]:
    """A turn whose two choices say these."""
    said = [Step((ContentDelta(text, at),), TurnUsage(3, at + 1), None, at) for at, text in enumerate(texts)]
    end = TurnEnd(StopReason.STOP)
    return [*said, *(Step((), TurnUsage(3, len(texts)), end, at) for at in range(len(texts)))]


async def until_idle(surface: Surface) -> None:
    async with asyncio.timeout(SECONDS):
        await surface.runs.until_empty()
    assert surface.engine.running == 0


async def test_each_prompt_is_answered_by_its_number(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("A"), says("B"), says("C"))
    answer = await client.completions.create(model=MODEL, prompt=["a", "b", "c"])
    asked = [turn.raw.text for turn in engine.rendered if turn.raw]
    assert asked == ["a", "b", "c"]
    assert [(each.index, each.text) for each in answer.choices] == [(0, "A"), (1, "B"), (2, "C")]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    runs = answer.model_dump()["parley"]["runs"]
    assert answer.id == f"cmpl-{runs[0]['run_id']}"
    assert len({run["run_id"] for run in runs}) == 3


async def test_prompts_may_be_of_tokens(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("A"), says("B"))
    answer = await client.completions.create(model=MODEL, prompt=[[72], [105, 33]])
    assert [turn.raw.tokens for turn in engine.rendered if turn.raw] == [(72,), (105, 33)]
    assert [each.text for each in answer.choices] == ["A", "B"]


async def test_choices_count_on_from_prompt_to_prompt(surface: Surface, client: AsyncOpenAI) -> None:
    turns = twice("a", "b"), twice("c", "d")
    surface.script(*turns, *turns)
    asked: Any = {"model": MODEL, "prompt": ["x", "y"], "n": 2, "temperature": 1}
    answer = await client.completions.create(**asked)
    assert [(each.index, each.text) for each in answer.choices] == list(enumerate("abcd"))
    said: defaultdict[int, str] = defaultdict(str)
    ends: dict[int, str] = {}
    stream = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    for chunk in chunks[:-1]:
        [choice] = chunk.choices
        said[choice.index] += choice.text
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert said == dict(enumerate("abcd"))
    assert ends == dict.fromkeys(range(4), "stop")
    assert len({chunk.id for chunk in chunks}) == 1
    assert answer.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens == 4


async def test_places_of_tokens_count_from_each_choices_beginning(
    surface: Surface, client: AsyncOpenAI
) -> None:
    turn = [
        ContentDelta("AB", logprobs=(TokenLogprob(65, b"AB", -0.5),)),
        ContentDelta("C", logprobs=(TokenLogprob(66, b"C", -1.0),)),
        TurnEnd(StopReason.STOP),
    ]
    surface.script(turn, turn)
    asked = await client.completions.create(model=MODEL, prompt=["x", "y"], logprobs=1, stream=True)
    places: defaultdict[int, list[int]] = defaultdict(list)
    async for chunk in asked:
        [choice] = chunk.choices
        if choice.logprobs:
            places[choice.index] += choice.logprobs.text_offset or []
    assert places == {0: [0, 2], 1: [0, 2]}


async def test_a_prompt_that_fails_is_the_end_of_all(surface: Surface, client: AsyncOpenAI) -> None:
    broken = [EngineFailed(MODEL)]
    surface.script(ENDLESS, broken, ENDLESS, broken)
    with pytest.raises(InternalServerError) as refused:
        await client.completions.create(model=MODEL, prompt=["a", "b"])
    assert refused.value.code == "engine_failed"
    await until_idle(surface)
    stream = await client.completions.create(model=MODEL, prompt=["a", "b"], stream=True)
    with pytest.raises(APIError) as caught:
        [_ async for _ in stream]
    assert caught.value.code == "engine_failed"
    await until_idle(surface)


async def test_all_are_cancelled_when_the_client_goes(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(*[ENDLESS] * 3)
    stream = await client.completions.create(model=MODEL, prompt=["a", "b", "c"], stream=True)
    speaking = {(await anext(aiter(stream))).choices[0].index for _ in range(3)}
    assert speaking == {0, 1, 2}
    assert surface.engine.running == 3
    await stream.close()
    await until_idle(surface)


async def test_to_cancel_one_is_to_cancel_all(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(*[ENDLESS] * 2)
    stream = await client.completions.create(model=MODEL, prompt=["a", "b"], stream=True)
    run_id = (await anext(aiter(stream))).id.removeprefix("cmpl-")
    await surface.post(f"/api/v1/runs/{run_id}:cancel", "{}")
    with pytest.raises(APIError) as caught:
        [_ async for _ in stream]
    assert caught.value.code == "cancelled"
    await until_idle(surface)


async def test_a_limit_lets_all_in_or_none(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script()
    asked = len(engine.request_ids)
    surface.limits.held_to = terms("prompts", requests_per_minute=2)
    try:
        with pytest.raises(RateLimitError):
            await client.completions.create(model=MODEL, prompt=["a", "b", "c"])
    finally:
        surface.limits.held_to = Terms()
    assert len(engine.rendered) == 3
    assert len(engine.request_ids) == asked
    await until_idle(surface)
