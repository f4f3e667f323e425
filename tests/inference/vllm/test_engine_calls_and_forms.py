"""Calls, and answers that keep to a form, on a real vLLM."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from services.inference.engine.options import CallMode, FormKind, OutputForm, ToolChoice
from services.inference.engine.port import Engine
from services.inference.engine.turn import Message, Role, ToolCall, Turn
from services.inference.errors import (
    StructuredOutputInvalid,
)
from services.inference.reading.step import (
    ContentDelta,
    ReasoningDelta,
    StopReason,
    ToolCallDelta,
)
from tests.inference.vllm.asked import (
    BLANKS,
    CALCULATOR,
    GREEDY,
    REAL_ENGINE,
    answer,
    ending,
    greedy,
    said,
    text_of,
    user,
    without,
)

pytestmark = REAL_ENGINE


@pytest.mark.parametrize(
    ("form", "answers"),
    [
        (OutputForm(FormKind.CHOICES, choices=("maybe", "never")), r"maybe|never"),
        (OutputForm(FormKind.REGEX, "[0-9]{3}-[0-9]{2}"), r"[0-9]{3}-[0-9]{2}"),
        (OutputForm(FormKind.GRAMMAR, 'root ::= ("ab" | "cd") "!"'), r"(ab|cd)!"),
    ],
    ids=lambda given: given.kind.value if isinstance(given, OutputForm) else "",
)
async def test_an_answer_keeps_to_its_form(engine: Engine, form: OutputForm, answers: str) -> None:
    steps = await answer(engine, user("hello", form=form), f"form-{form.kind.value}")
    assert re.fullmatch(answers, text_of(steps, ContentDelta))
    assert ending(steps).reason is StopReason.STOP


async def test_a_stop_token_that_a_form_may_need_is_refused(engine: Engine) -> None:
    dash, start = [(await engine.tokenize(text, special=False))[0] for text in ("-", "<|im_start|>")]
    form = OutputForm(FormKind.REGEX, "[0-9]{3}-[0-9]{2}")
    spoken, mark = (greedy(stop_token_ids=(token,)) for token in (dash, start))
    with pytest.raises(StructuredOutputInvalid) as refused:
        await engine.render(user("hello", form=form, sampling=spoken))
    assert refused.value.metadata["field"] == "structured_output"
    forced = user("hello", tools=(CALCULATOR,), tool_choice=ToolChoice(CallMode.REQUIRED), sampling=spoken)
    with pytest.raises(StructuredOutputInvalid) as refused:
        await engine.render(forced)
    assert refused.value.metadata["field"] == "tool_choice"
    steps = await answer(engine, user("hello", form=form, sampling=mark), "marked")
    assert re.fullmatch(form.text, text_of(steps, ContentDelta))


async def test_choices_are_proven_as_the_grammar_that_the_engine_makes_of_them() -> None:
    """64 of 1,024 characters take the compiler two seconds, and twice as many far more than twice that."""
    from services.inference.vllm.forms import proof

    asked = proof(OutputForm(FormKind.CHOICES, choices=("maybe", "never")))
    assert asked == ("grammar", 'root ::= "maybe" | "never"', "structured_output.choices")


async def test_an_answer_keeps_to_its_schema(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "warm": {"type": "boolean"}},
        "required": ["city", "warm"],
        "additionalProperties": False,
    }
    form = OutputForm(FormKind.JSON_SCHEMA, json.dumps(schema))
    steps = await answer(engine, user("hello", form=form, sampling=await without(engine, BLANKS)), "schema")
    told = json.loads(text_of(steps, ContentDelta))
    assert told["city"] in ("Rome", "Oslo")
    assert isinstance(told["warm"], bool)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": True},
        {"type": "nonsense"},
        {"$ref": "#/$defs/nowhere"},
    ],
    ids=["keyword", "type", "reference"],
)
async def test_a_schema_that_no_answer_can_keep_to_is_refused(engine: Engine, schema: dict[str, Any]) -> None:
    with pytest.raises(StructuredOutputInvalid) as refused:
        await engine.render(user("hello", form=OutputForm(FormKind.JSON_SCHEMA, json.dumps(schema))))
    assert refused.value.metadata["field"] == "structured_output.json_schema"


async def test_reasoning_before_a_form_is_free(engine: Engine) -> None:
    """The prompt leaves the reasoning open, as it does for who brings tools."""
    form = OutputForm(FormKind.CHOICES, choices=("maybe", "never"))
    turn = user("hello", tools=(CALCULATOR,), form=form, tool_choice=ToolChoice(CallMode.NONE))
    steps = await answer(engine, turn, "free")
    assert text_of(steps, ReasoningDelta) == "The calculator will know."
    assert text_of(steps, ContentDelta).strip() in ("maybe", "never")


@pytest.mark.parametrize(
    "choice",
    [ToolChoice(CallMode.REQUIRED), ToolChoice(CallMode.REQUIRED, "calculator")],
    ids=["any", "named"],
)
async def test_a_call_that_must_be_made_is_made(engine: Engine, choice: ToolChoice) -> None:
    """Even where the model would rather count. Its arguments are its own: the script's."""
    sampling = await without(engine, BLANKS + '"')
    turn = user("count", tools=(CALCULATOR,), tool_choice=choice, parallel_calls=False, sampling=sampling)
    end = ending(await answer(engine, turn, f"forced-{choice.name}", most=100))
    assert [(call.name, json.loads(call.arguments)) for call in end.calls] == [
        ("calculator", {"expression": "17 * 23"})
    ]


async def test_no_call_is_made_where_none_may_be(engine: Engine) -> None:
    turn = user("17 * 23?", tools=(CALCULATOR,), tool_choice=ToolChoice(CallMode.NONE))
    steps = await answer(engine, turn, "none")
    assert ending(steps).calls == ()
    assert "calculator" in text_of(steps, ContentDelta)


async def test_call_is_parsed_with_its_reasoning(engine: Engine) -> None:
    steps = await answer(engine, user("17 * 23?", tools=(CALCULATOR,)), "call")
    deltas, end = said(steps), steps[-1].end
    assert text_of(steps, ReasoningDelta) == "The calculator will know."
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert "".join(delta.arguments for delta in calls) == '{"expression": "17 * 23"}'
    assert end is not None
    assert [(call.id, call.name, call.arguments) for call in end.calls] == [
        (calls[0].id, "calculator", '{"expression": "17 * 23"}')
    ]
    assert steps[-1].usage.reasoning_tokens >= 2


async def test_a_tools_result_is_answered(engine: Engine) -> None:
    call = ToolCall("call-1", "calculator", '{"expression": "17 * 23"}')
    turn = Turn(
        (
            Message(Role.USER, "17 * 23?"),
            Message(Role.ASSISTANT, "", "The calculator will know.", (call,)),
            Message(Role.TOOL, '{"result":391}', tool_call_id="call-1"),
        ),
        (CALCULATOR,),
        GREEDY,
    )
    steps = await answer(engine, turn, "after-tool")
    assert text_of(steps, ContentDelta) == "It is three hundred and ninety-one."


async def test_history_whose_arguments_are_no_json_is_rendered(engine: Engine) -> None:
    call = ToolCall("call-1", "calculator", '{"expression": ')
    turn = Turn(
        (
            Message(Role.USER, "17 * 23?"),
            Message(Role.ASSISTANT, "", "", (call,)),
            Message(Role.TOOL, "{}", tool_call_id="call-1"),
        ),
        (CALCULATOR,),
    )
    assert (await engine.render(turn)).tokens > 0
