"""Completions as the official client meets them, through the real edge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from services.inference.errors import EngineFailed
from services.inference.reading.logprobs import TokenLogprob, TopLogprob
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from tests.edge.openai.conftest import MARKS, MODEL, Surface
from tests.inference.scripted import says

pytestmark = MARKS

PROMPT = "Once upon"
EXTRA = {"best_of": 1, "parley": {"cache": {"mode": "CACHE_MODE_OFF"}, "max_event_delay": "0s"}}


async def test_a_text_goes_on(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says(" a", " time."))
    answer = await client.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=20, stop=["\n"], temperature=0, extra_body=EXTRA
    )
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason, answer.object) == (" a time.", "stop", "text_completion")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    [turn] = engine.rendered
    assert turn.raw is not None
    assert (turn.raw.text, turn.raw.echo, turn.messages) == (PROMPT, False, ())
    assert (turn.sampling.stop, turn.sampling.max_output_tokens) == (("\n",), 20)


async def test_the_same_in_a_stream(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(says(" a", " time."))
    stream = await client.completions.create(
        model=MODEL, prompt=[PROMPT], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    *spoken, last = chunks
    assert "".join(chunk.choices[0].text for chunk in spoken) == " a time."
    assert spoken[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage is not None and last.usage.completion_tokens) == ([], 3)


@pytest.mark.parametrize("prompt", [[72, 105], [[72, 105]]])
async def test_a_prompt_of_tokens(surface: Surface, client: AsyncOpenAI, prompt: Any) -> None:
    engine = surface.script(says("!"))
    await client.completions.create(model=MODEL, prompt=prompt)
    assert engine.rendered[0].raw is not None
    assert engine.rendered[0].raw.tokens == (72, 105)


async def test_tokens_come_with_their_log_probabilities(surface: Surface, client: AsyncOpenAI) -> None:
    first = TokenLogprob(65, b"AB", -0.5, (TopLogprob(65, b"AB", -0.5),))
    turn = [
        ContentDelta("AB", logprobs=(first,)),
        ContentDelta("C", logprobs=(TokenLogprob(66, b"C", -1.0),)),
        TurnEnd(StopReason.STOP),
    ]
    surface.script(turn, turn)
    asked: Any = {"model": MODEL, "prompt": PROMPT, "logprobs": 1}
    [choice] = (await client.completions.create(**asked)).choices
    told = choice.logprobs
    assert told is not None
    assert (told.tokens, told.token_logprobs, told.text_offset) == (["AB", "C"], [-0.5, -1.0], [0, 2])
    assert told.top_logprobs == [{"AB": -0.5}, {}]
    stream = await client.completions.create(**asked, stream=True)
    offsets = [chunk.choices[0].logprobs.text_offset async for chunk in stream if chunk.choices[0].logprobs]
    assert offsets == [[0], [2]]


async def test_a_prompt_alone_is_echoed_with_what_it_is_worth(surface: Surface, client: AsyncOpenAI) -> None:
    told = TokenLogprob(65, b"Once", None), TokenLogprob(66, b" upon", -0.5)
    step = Step((ContentDelta(PROMPT, logprobs=told),), TurnUsage(2), TurnEnd(StopReason.LENGTH))
    engine = surface.script([step], [step])
    asked: Any = {"model": MODEL, "prompt": PROMPT, "max_tokens": 0, "echo": True, "logprobs": 1}
    answer = await client.completions.create(**asked)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason) == (PROMPT, "length")
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs == [None, -0.5]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 0)
    [turn] = engine.rendered
    assert turn.raw is not None
    assert (turn.raw.echo, turn.raw.echo_only) == (True, True)
    stream = await client.completions.create(**asked, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == PROMPT


async def test_an_engine_that_fails_ends_the_stream_with_its_error(
    surface: Surface, client: AsyncOpenAI
) -> None:
    surface.script([EngineFailed(MODEL)])
    stream = await client.completions.create(model=MODEL, prompt=PROMPT, stream=True)
    with pytest.raises(APIError) as caught:
        await anext(aiter(stream))
    assert caught.value.code == "engine_failed"


@pytest.mark.parametrize(
    ("change", "parameter", "code"),
    [
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": 5}, "prompt", "invalid_value"),
        ({"prompt": [2**40]}, "prompt", "invalid_value"),
        ({"prompt": ["a", ""]}, "prompt[1]", "invalid_value"),
        ({"prompt": [[1], []]}, "prompt[1]", "invalid_value"),
        ({"prompt": [[1], [2**40]]}, "prompt[1]", "invalid_value"),
        ({"prompt": ["a", [1]]}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 129}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 65, "n": 2}, "prompt", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"n": 200}, "n", "invalid_value"),
        ({"logprobs": 21}, "logprobs", "invalid_value"),
        ({"parley": {"limits": {}}}, "parley.limits", "unsupported_parameter"),
        ({"parley": 5}, "parley", "invalid_value"),
        ({"best_of": 2}, "best_of", "unsupported_parameter"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"prompt_embeds": "AAAA"}, "prompt_embeds", "unsupported_parameter"),
    ],
)
async def test_a_field_with_a_bad_value_is_named(
    surface: Surface, change: dict[str, Any], parameter: str, code: str
) -> None:
    answer = await surface.post("/v1/completions", json.dumps({"model": MODEL, "prompt": "Hi", **change}))
    told = answer.json()["error"]
    assert (answer.status_code, told["param"], told["code"]) == (400, parameter, code), told
