"""OpenAI's Responses as the official client meets them, through the real edge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, InternalServerError

from services.inference.engine.options import CallMode, Effort, FormKind
from services.inference.engine.turn import Role, ToolCall
from services.inference.errors import EngineFailed
from services.inference.reading.logprobs import TokenLogprob
from services.inference.reading.step import ContentDelta, ReasoningDelta, StopReason, TurnEnd
from tests.edge.openai.conftest import MARKS, MODEL, Surface
from tests.inference.scripted import calls, says

pytestmark = MARKS

QUESTION = "What is 17 * 23?"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object"},
    "strict": False,
}
CALL = ToolCall("call-1", "weather", '{"place":"Bern"}')
THINKING = {"type": "reasoning_text", "text": "Hm."}
THOUGHT = [ReasoningDelta("Hm."), ContentDelta("It is "), ContentDelta("391."), TurnEnd(StopReason.STOP)]


async def test_an_answer_in_one_piece(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(THOUGHT)
    answer = await client.responses.create(
        model=MODEL,
        input=QUESTION,
        instructions="Be brief.",
        max_output_tokens=20,
        temperature=0.5,
        reasoning={"effort": "low"},
    )
    assert (answer.output_text, answer.status, answer.object) == ("It is 391.", "completed", "response")
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 4)
    assert (answer.instructions, answer.temperature, answer.max_output_tokens) == ("Be brief.", 0.5, 20)
    [turn] = engine.rendered
    assert [message.role for message in turn.messages] == [Role.SYSTEM, Role.USER]
    assert (turn.sampling.max_output_tokens, turn.effort) == (20, Effort.LOW)


async def test_the_same_in_a_stream_as_the_clients_own_accumulator_reads_it(
    surface: Surface, client: AsyncOpenAI
) -> None:
    surface.script(THOUGHT)
    async with client.responses.stream(model=MODEL, input=QUESTION) as stream:
        events = [event async for event in stream]
        answer = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert said == ["It is ", "391."]
    assert answer.output_text == "It is 391."
    assert [item.status for item in answer.output] == ["completed", "completed"]


async def test_calls_of_the_clients_own_tools(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(calls(CALL), calls(CALL))
    asked: Any = {"model": MODEL, "input": QUESTION, "tools": [WEATHER], "tool_choice": "required"}
    answer = await client.responses.create(**asked, parallel_tool_calls=False)
    reasoning, call = answer.output
    assert reasoning.type == "reasoning"
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == (CALL.id, CALL.name, CALL.arguments)
    assert engine.rendered[0].tool_choice.mode is CallMode.REQUIRED
    assert not engine.rendered[0].parallel_calls
    stream = await client.responses.create(**asked, stream=True)
    events = [event async for event in stream]
    written = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(written) == CALL.arguments
    [done] = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert done.arguments == CALL.arguments


async def test_items_of_a_turn_become_one_message(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("Warm."))
    told: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Is it warm?"}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": CALL.id, "name": CALL.name, "arguments": CALL.arguments},
        {"type": "function_call_output", "call_id": CALL.id, "output": "20 °C"},
    ]
    await client.responses.create(model=MODEL, input=told)
    user, assistant, tool = engine.rendered[0].messages
    assert (user.role, user.content) == (Role.USER, "Is it warm?")
    assert (assistant.reasoning, assistant.content, assistant.tool_calls) == ("Hm.", "Let me see.", (CALL,))
    assert (tool.role, tool.tool_call_id, tool.content) == (Role.TOOL, CALL.id, "20 °C")


async def test_what_a_response_said_can_be_its_next_input(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(calls(CALL), says("Warm."))
    first = await client.responses.create(model=MODEL, input=QUESTION, tools=[WEATHER])
    output = [item.model_dump(exclude_none=True) for item in first.output]
    result = {"type": "function_call_output", "call_id": CALL.id, "output": "20 °C"}
    await client.responses.create(
        model=MODEL, input=[{"role": "user", "content": QUESTION}, *output, result], tools=[WEATHER]
    )
    assert [message.role for message in engine.rendered[1].messages] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    assert engine.rendered[1].messages[1].tool_calls == (CALL,)


async def test_tools_of_the_platform_are_no_part_of_the_output(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(calls(ToolCall("s-1", "add", "{}")), says("It is 391."))
    answer = await client.responses.create(
        model=MODEL, input=QUESTION, extra_body={"parley": {"server_tools": {"all": True}}}
    )
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output_text == "It is 391."


async def test_a_form_and_log_probabilities(surface: Surface, client: AsyncOpenAI) -> None:
    token = TokenLogprob(65, b"{}", -0.5)
    engine = surface.script([ContentDelta("{}", logprobs=(token,)), TurnEnd(StopReason.STOP)])
    answer = await client.responses.create(
        model=MODEL,
        input=QUESTION,
        text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        include=["message.output_text.logprobs"],
        top_logprobs=1,
    )
    [turn] = engine.rendered
    assert turn.form is not None
    assert (turn.form.kind, turn.form.text) == (FormKind.JSON_SCHEMA, '{"type":"object"}')
    [message] = answer.output
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].logprobs is not None
    assert [each.logprob for each in message.content[0].logprobs] == [-0.5]


async def test_an_answer_that_a_limit_cuts_is_incomplete(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script([ContentDelta("On and"), TurnEnd(StopReason.LENGTH)])
    answer = await client.responses.create(model=MODEL, input=QUESTION)
    assert (answer.status, answer.output_text) == ("incomplete", "On and")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_an_engine_that_fails(surface: Surface, client: AsyncOpenAI) -> None:
    broken = [ContentDelta("One "), EngineFailed(MODEL)]
    surface.script(broken, broken)
    with pytest.raises(InternalServerError) as caught:
        await client.responses.create(model=MODEL, input=QUESTION)
    assert caught.value.code == "engine_failed"
    *_, last = [
        each async for each in await client.responses.create(model=MODEL, input=QUESTION, stream=True)
    ]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert (last.response.error.code, last.response.output_text) == ("engine_failed", "One ")


@pytest.mark.parametrize(
    ("change", "parameter", "code"),
    [
        ({"input": None}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": 5}, "input", "invalid_value"),
        ({"input": [{"role": "oracle", "content": "x"}]}, "input", "invalid_value"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"include": ["file_search_call.results"]}, "include", "unsupported_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
    ],
)
async def test_a_field_with_a_bad_value_is_named(
    surface: Surface, change: dict[str, Any], parameter: str, code: str
) -> None:
    answer = await surface.post("/v1/responses", json.dumps({"model": MODEL, "input": "Hi", **change}))
    told = answer.json()["error"]
    assert (answer.status_code, told["param"], told["code"]) == (400, parameter, code), told
