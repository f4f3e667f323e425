"""Chat completions as the official Python client meets them, through the real edge."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from services.inference.engine.options import CallMode, FormKind, OutputForm, ToolChoice
from services.inference.engine.turn import Role, ToolCall
from services.inference.reading.logprobs import TokenLogprob, TopLogprob
from services.inference.reading.step import (
    ContentDelta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
    TurnUsage,
)
from tests.edge.front import eventually
from tests.edge.openai.conftest import MARKS, MODEL, SECONDS, Surface
from tests.inference.scripted import Gate, ScriptedEngine, calls, says

pytestmark = MARKS

QUESTION: Any = [{"role": "user", "content": "What is 17 * 23?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
CALL = ToolCall("call-1", "weather", '{"place":"Bern"}')
MADE: Any = {
    "id": CALL.id,
    "type": "function",
    "function": {"name": CALL.name, "arguments": CALL.arguments},
}


async def until_free(engine: ScriptedEngine) -> None:
    """Wait until no request holds the engine."""

    async def free() -> bool | None:
        return engine.running == 0 or None

    assert await eventually(free)


async def test_an_answer_in_one_piece(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("It is ", "391."))
    answer = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0.5, seed=7, stop="\n\n", max_tokens=20
    )
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "It is 391.")
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 3)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert (answer.model, answer.object) == (MODEL, "chat.completion")
    sampling = engine.rendered[0].sampling
    assert (sampling.temperature, sampling.seed, sampling.stop) == (0.5, 7, ("\n\n",))
    assert sampling.max_output_tokens == 20


async def test_the_same_in_a_stream_with_its_usage(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(says("It is ", "391."))
    stream = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    *spoken, last = chunks
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert spoken[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == "It is 391."
    assert [chunk.choices[0].finish_reason for chunk in spoken if chunk.choices[0].finish_reason] == ["stop"]
    assert (last.choices, last.usage is not None and last.usage.completion_tokens) == ([], 3)


async def test_a_stream_that_nobody_asked_for_usage_has_none(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(says("Hi."))
    stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in [each async for each in stream])


async def test_a_message_of_parts_and_every_role_reaches_the_model(
    surface: Surface, client: AsyncOpenAI
) -> None:
    engine = surface.script(says("Yes."))
    told: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Is it "}, {"type": "text", "text": "warm?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [MADE],
        },
        {"role": "tool", "tool_call_id": CALL.id, "content": "20 °C"},
    ]
    await client.chat.completions.create(model=MODEL, messages=told)
    system, user, assistant, tool = engine.rendered[0].messages
    assert (system.role, user.content) == (Role.SYSTEM, "Is it warm?")
    assert assistant.tool_calls == (CALL,)
    assert (tool.role, tool.tool_call_id, tool.content) == (Role.TOOL, CALL.id, "20 °C")


async def test_calls_of_the_clients_own_tools_end_the_answer(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(calls(CALL))
    answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[WEATHER])
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == (CALL.id, CALL.name, CALL.arguments)
    [offered] = engine.rendered[0].tools
    assert (offered.name, offered.description) == ("weather", "Tells the weather.")
    assert offered.parameters["properties"] == {"place": {"type": "string"}}


async def test_calls_come_in_parts_as_the_model_writes_them(surface: Surface, client: AsyncOpenAI) -> None:
    second = ToolCall("call-2", "weather", '{"place":"Biel"}')
    surface.script(calls(CALL, second))
    stream = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=[WEATHER], stream=True
    )
    parts = [part async for chunk in stream for part in chunk.choices[0].delta.tool_calls or ()]
    assert [(part.index, part.id) for part in parts if part.id] == [(0, CALL.id), (1, second.id)]
    for index, call in enumerate((CALL, second)):
        written = [part.function.arguments for part in parts if part.index == index and part.function]
        assert "".join(text or "" for text in written) == call.arguments


async def test_a_call_with_broken_arguments_is_the_clients_as_it_is(
    surface: Surface, client: AsyncOpenAI
) -> None:
    engine = surface.script(calls(ToolCall("call-1", "weather", '{"place":')))
    answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[WEATHER])
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.arguments, len(engine.rendered)) == ('{"place":', 1)


async def test_tools_that_may_not_be_called_are_not_offered(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("No."))
    await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[WEATHER], tool_choice="none")
    assert engine.rendered[0].tools == ()


async def test_tools_of_the_platform_run_where_the_body_asks_for_them(
    surface: Surface, client: AsyncOpenAI
) -> None:
    mixed = calls(ToolCall("s-1", "add", "{}"))
    surface.script(mixed, says("It is 391."))
    asked = {"parley": {"server_tools": {"names": ["add"]}, "limits": {"max_tool_rounds": 2}}}
    answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body=asked)
    assert (answer.choices[0].message.content, answer.choices[0].message.tool_calls) == ("It is 391.", None)
    assert surface.toolbox.executed[-1][0].name == "add"
    surface.script(mixed, says("It is 391."))
    stream = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, extra_body=asked
    )
    chunks = [chunk async for chunk in stream]
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    told = [extra for chunk in chunks if (extra := (chunk.model_extra or {}).get("parley"))]
    assert told[0]["tool_call"]["call"]["name"] == "add"
    assert told[1]["tool_result"]["content"] == "{}"
    assert told[-1]["finish_reason"] == "STOP"
    assert chunks[0].id == f"chatcmpl-{told[-1]['run_id']}"


async def test_calls_of_both_kinds_are_told_apart(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(calls(ToolCall("s-1", "add", "{}"), CALL))
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        tools=[WEATHER],
        stream=True,
        extra_body={"parley": {"server_tools": {"all": True}}},
    )
    parts = [part async for chunk in stream for part in chunk.choices[0].delta.tool_calls or ()]
    assert {part.index for part in parts} == {0}
    assert [part.id for part in parts if part.id] == [CALL.id]


async def test_reasoning_comes_beside_the_answer_unless_it_is_left_out(
    surface: Surface, client: AsyncOpenAI
) -> None:
    turn = [ReasoningDelta("Hm."), ContentDelta("Yes."), TurnEnd(StopReason.STOP)]
    surface.script(turn, turn, turn)
    shown = await client.chat.completions.create(model=MODEL, messages=QUESTION, reasoning_effort="none")
    hidden = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, extra_body={"include_reasoning": False}
    )
    await client.chat.completions.create(
        model=MODEL, messages=QUESTION, extra_body={"chat_template_kwargs": {"enable_thinking": True}}
    )
    assert (shown.choices[0].message.model_extra or {})["reasoning"] == "Hm."
    assert "reasoning" not in (hidden.choices[0].message.model_extra or {})
    assert [turn.reasoning for turn in surface.engine.rendered] == [False, None, True]


async def test_an_answer_that_a_limit_cuts_says_so(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script([ContentDelta("On and"), TurnEnd(StopReason.LENGTH)])
    answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert (answer.model_extra or {})["parley"]["finish_reason"] == "LENGTH"


async def test_the_whole_of_sampling_reaches_the_engine(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("Hi."))
    await client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logit_bias={"65": -100},
        stop=list("ABCDEFGHIJKLMNOP"),
        extra_body={
            "top_k": 5,
            "min_p": 0.25,
            "repetition_penalty": 1.5,
            "min_tokens": 2,
            "ignore_eos": True,
            "stop_token_ids": [10],
        },
    )
    used = engine.rendered[0].sampling
    assert (used.frequency_penalty, used.presence_penalty, used.repetition_penalty) == (0.5, -0.5, 1.5)
    assert (used.top_k, used.min_p, used.min_output_tokens, used.ignore_eos) == (5, 0.25, 2, True)
    assert (dict(used.logit_bias), used.stop_token_ids) == ({65: -100.0}, (10,))
    assert used.stop == tuple("ABCDEFGHIJKLMNOP")


def choices(*texts: str) -> list[Step]:
    """A turn of several choices, whose last one is cut short."""
    usage = TurnUsage(10, len(texts), 0, 0)
    said = [Step((ContentDelta(text, index),), usage, choice=index) for index, text in enumerate(texts)]
    ends = [
        Step((), usage, TurnEnd(StopReason.LENGTH if index else StopReason.STOP), choice=index)
        for index in range(len(texts))
    ]
    return [*said, *ends]


async def test_several_answers_to_one_question(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(choices("One.", "Two"), choices("One.", "Two"))
    answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, n=2)
    stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, n=2, stream=True)
    said, ends = ["", ""], ["", ""]
    async for chunk in stream:
        [part] = chunk.choices
        said[part.index] += part.delta.content or ""
        ends[part.index] = part.finish_reason or ends[part.index]
    assert [choice.message.content for choice in answer.choices] == said == ["One.", "Two"]
    assert [choice.finish_reason for choice in answer.choices] == ends == ["stop", "length"]


async def test_tokens_come_with_their_log_probabilities(surface: Surface, client: AsyncOpenAI) -> None:
    tokens = (
        TokenLogprob(65, b"A", -0.5, (TopLogprob(65, b"A", -0.5), TopLogprob(66, b"B", -1.5))),
        TokenLogprob(195, b"\xc3", float("-inf")),
    )
    turn = [ContentDelta("A", logprobs=tokens), TurnEnd(StopReason.STOP)]
    engine = surface.script(turn, turn)
    asked: Any = {"model": MODEL, "messages": QUESTION, "logprobs": True, "top_logprobs": 2}
    answer = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(**asked, stream=True)
    [told] = [chunk.choices[0].logprobs async for chunk in stream if chunk.choices[0].logprobs]
    assert engine.rendered[0].sampling.top_logprobs == 2
    assert told.content is not None
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content == told.content
    first, second = told.content
    assert (first.token, first.logprob, first.bytes) == ("A", -0.5, [65])
    assert [(top.token, top.logprob) for top in first.top_logprobs] == [("A", -0.5), ("B", -1.5)]
    assert (second.bytes, second.logprob) == ([195], -9999.0)


SCHEMA: Any = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}


@pytest.mark.parametrize(
    ("field", "given", "form"),
    [
        ("response_format", {"type": "text"}, None),
        ("response_format", {"type": "json_object"}, OutputForm(FormKind.JSON_OBJECT)),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
            OutputForm(FormKind.JSON_SCHEMA, json.dumps(SCHEMA, separators=(",", ":"))),
        ),
        (
            "structured_outputs",
            {"choice": ["yes", "no"]},
            OutputForm(FormKind.CHOICES, choices=("yes", "no")),
        ),
        ("structured_outputs", {"regex": "[0-9]+"}, OutputForm(FormKind.REGEX, "[0-9]+")),
    ],
)
async def test_the_form_of_an_answer_reaches_the_engine(
    surface: Surface, client: AsyncOpenAI, field: str, given: Any, form: OutputForm | None
) -> None:
    engine = surface.script(says('{"answer":391}'))
    await client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body={field: given})
    assert engine.rendered[0].form == form


async def test_calls_can_be_demanded(surface: Surface, client: AsyncOpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "weather"}}
    engine = surface.script(calls(CALL), calls(CALL))
    for choice in ("required", named):
        await client.chat.completions.create(
            model=MODEL, messages=QUESTION, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False
        )
    required, weather = (turn.tool_choice for turn in engine.rendered)
    assert (required, weather) == (ToolChoice(CallMode.REQUIRED), ToolChoice(CallMode.REQUIRED, "weather"))


async def test_a_client_that_leaves_frees_the_engine(surface: Surface, client: AsyncOpenAI) -> None:
    gate = Gate()
    engine = surface.script([ContentDelta("One "), gate, TurnEnd(StopReason.STOP)])
    stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    await asyncio.wait_for(gate.reached.wait(), SECONDS)
    await stream.close()

    await until_free(engine)


async def test_a_client_that_waits_for_the_whole_no_longer_frees_it_too(
    surface: Surface, client: AsyncOpenAI
) -> None:
    gate = Gate()
    engine = surface.script([gate, TurnEnd(StopReason.STOP)])
    waiting = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=QUESTION))
    await asyncio.wait_for(gate.reached.wait(), SECONDS)
    waiting.cancel()
    await until_free(engine)


async def test_a_run_that_is_cancelled_by_its_id_tells_so_in_the_stream(
    surface: Surface, client: AsyncOpenAI
) -> None:
    surface.script([ContentDelta("One "), Gate(), TurnEnd(StopReason.STOP)])
    stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    first = await anext(aiter(stream))
    run_id = first.id.removeprefix("chatcmpl-")
    cancelled = await surface.post(f"/api/v1/runs/{run_id}:cancel", "{}")
    assert cancelled.status_code == 200, cancelled.text
    with pytest.raises(APIError) as caught:
        [chunk async for chunk in stream]
    assert caught.value.code == "cancelled"


async def test_the_clients_own_accumulator_reads_the_stream(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(
        [
            ContentDelta("Let me see. "),
            ToolCallDelta(0, CALL.id, CALL.name, ""),
            ToolCallDelta(0, "", "", CALL.arguments),
            TurnEnd(StopReason.STOP, (CALL,)),
        ]
    )
    async with client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=[WEATHER]) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "Let me see. "
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.arguments == CALL.arguments
