from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from services.inference.engine.turn import ToolCall
from services.inference.errors import EngineFailed, OutputUnparseable
from services.inference.reading.step import ContentDelta, ReasoningDelta, Step, StopReason, ToolCallDelta
from services.inference.reading.turn_reader import TurnReader

WITH_TOOLS = SimpleNamespace(tools=["calculator"])
WITHOUT_TOOLS = SimpleNamespace(tools=None)


@dataclass
class Output:
    text: str
    finish_reason: str | None = None
    token_ids: Sequence[int] = (1,)
    logprobs: Sequence[Any] | None = None
    stop_reason: str | int | None = None


def part(index: int, *, id: str | None = None, name: str | None = None, arguments: str | None = None) -> Any:  # noqa: A002
    return SimpleNamespace(index=index, id=id, function=SimpleNamespace(name=name, arguments=arguments))


def parsed(content: str | None = None, reasoning: str | None = None, calls: Sequence[Any] = ()) -> Any:
    return SimpleNamespace(content=content, reasoning=reasoning, tool_calls=list(calls))


@dataclass
class ScriptedParser:
    """Gives these answers to `parse_delta` and to `parse`; an exception is raised."""

    deltas: list[Any] = field(default_factory=list)
    whole: Any = (None, None, None)
    reasoning_tokens: int = 0

    def parse_delta(self, *arguments: Any, finished: bool) -> Any:
        answer = self.deltas.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def parse(self, *arguments: Any) -> Any:
        if isinstance(self.whole, Exception):
            raise self.whole
        return self.whole

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        return self.reasoning_tokens


def read(parser: ScriptedParser | None, *outputs: Output, request: Any = WITH_TOOLS) -> list[Step]:
    reader = TurnReader("m", lambda: parser, request, prompt_tokens=5, decode=decode)
    return [step for output in outputs for step in reader.read(output, 2, [1, 2, 3])]


def decode(tokens: Sequence[int]) -> str:
    """Each token is a letter of the alphabet."""
    return "".join(chr(ord("a") + token) for token in tokens)


def calls_of(steps: list[Step]) -> tuple[ToolCall, ...]:
    assert steps[-1].end is not None
    return steps[-1].end.calls


def test_plain_text_without_a_parser() -> None:
    steps = read(None, Output("a"), Output("b", "stop"))
    assert [step.deltas for step in steps] == [(ContentDelta("a"),), (ContentDelta("b"),)]
    assert steps[-1].usage.completion_tokens == 2
    assert steps[-1].usage.prompt_tokens == 5
    assert steps[-1].usage.cached_prompt_tokens == 2


def test_what_the_parser_holds_back_is_an_empty_step() -> None:
    (step,) = read(ScriptedParser([None]), Output("<th"))
    assert step.deltas == ()
    assert step.usage.completion_tokens == 1


def test_a_chunk_of_the_prompt_says_nothing() -> None:
    (step,) = read(ScriptedParser([]), Output("", token_ids=()))
    assert step.deltas == ()


def test_one_delta_may_hold_reasoning_content_and_two_calls() -> None:
    mixed = parsed("c", "r", [part(0, id="a", name="x", arguments="{}"), part(1, id="b", name="y")])
    parser = ScriptedParser([mixed, parsed(calls=[part(1, arguments="{}")])], reasoning_tokens=7)
    steps = read(parser, Output("…"), Output("…", "stop"))
    assert steps[0].deltas == (
        ReasoningDelta("r"),
        ContentDelta("c"),
        ToolCallDelta(0, "a", "x", "{}"),
        ToolCallDelta(1, "b", "y", ""),
    )
    assert steps[1].deltas == (ToolCallDelta(1, "", "", "{}"),)
    assert calls_of(steps) == (ToolCall("a", "x", "{}"), ToolCall("b", "y", "{}"))
    assert steps[-1].usage.reasoning_tokens == 7


def test_a_call_without_an_id_gets_one() -> None:
    steps = read(ScriptedParser([parsed(calls=[part(0, name="x", arguments="{}")])]), Output("…", "stop"))
    (call,) = calls_of(steps)
    assert call.id.startswith("call_")


def test_calls_that_the_stream_lost_are_found_at_the_end() -> None:
    lost = SimpleNamespace(id=None, name="calculator", arguments="{}")
    steps = read(ScriptedParser([None], whole=(None, None, [lost])), Output("…", "stop"))
    (call,) = calls_of(steps)
    assert (call.name, call.arguments) == ("calculator", "{}")
    assert steps[-1].deltas == (ToolCallDelta(0, call.id, "calculator", "{}"),)


def test_arguments_that_the_stream_broke_are_mended() -> None:
    whole = SimpleNamespace(id=None, name="x", arguments='{"a":1}')
    parser = ScriptedParser(
        [parsed(calls=[part(0, id="a", name="x", arguments='{"a":')])], (None, None, [whole])
    )
    assert calls_of(read(parser, Output("…", "stop"))) == (ToolCall("a", "x", '{"a":1}'),)


def test_arguments_that_are_no_json_stay_as_the_model_wrote_them() -> None:
    parser = ScriptedParser([parsed(calls=[part(0, id="a", name="x", arguments="{1}")])], (None, "…", None))
    assert calls_of(read(parser, Output("…", "stop"))) == (ToolCall("a", "x", "{1}"),)


def test_text_that_the_stream_swallowed_is_said_at_the_end() -> None:
    parser = ScriptedParser([parsed("Well: "), None], (None, "Well: <tool_call>nonsense", None))
    steps = read(parser, Output("Well: "), Output("<tool_call>nonsense", "stop"))
    assert steps[-1].deltas == (ContentDelta("<tool_call>nonsense"),)
    assert calls_of(steps) == ()


def test_a_second_parse_that_fails_changes_nothing() -> None:
    parser = ScriptedParser([parsed("Hi")], ValueError("no"))
    steps = read(parser, Output("Hi", "stop"))
    assert steps[-1].deltas == (ContentDelta("Hi"),)


def test_without_tools_nothing_is_parsed_twice() -> None:
    parser = ScriptedParser([parsed("Hi")], ValueError("not called"))
    steps = read(parser, Output("Hi", "stop"), request=WITHOUT_TOOLS)
    assert steps[-1].deltas == (ContentDelta("Hi"),)


def test_a_turn_that_was_cut_has_no_calls() -> None:
    parser = ScriptedParser([parsed(calls=[part(0, id="a", name="x", arguments='{"a":')])])
    steps = read(parser, Output("…", "length"))
    assert calls_of(steps) == ()
    assert steps[-1].end is not None
    assert steps[-1].end.reason is StopReason.LENGTH


def test_tokens_that_come_together_are_read_one_by_one() -> None:
    parser = ScriptedParser(
        [
            parsed(reasoning="r"),
            parsed(reasoning="s"),
            parsed("c", calls=[part(0, id="a", name="x", arguments="{")]),
            parsed(calls=[part(0, arguments="}")]),
        ]
    )
    (step,) = read(parser, Output("abcd", "stop", token_ids=(0, 1, 2, 3)))
    assert step.deltas == (ReasoningDelta("rs"), ContentDelta("c"), ToolCallDelta(0, "a", "x", "{}"))
    assert step.usage.completion_tokens == 4


def test_what_was_said_before_the_break_is_kept() -> None:
    parser = ScriptedParser([parsed("a"), parsed("b"), KeyError("<|channel|>")])
    reader = TurnReader("m", lambda: parser, WITH_TOOLS, 5, decode)
    steps = reader.read(Output("abc", token_ids=(0, 1, 2)), 0, None)
    assert next(steps).deltas == (ContentDelta("ab"),)
    with pytest.raises(OutputUnparseable):
        next(steps)


def test_the_rest_of_arguments_is_streamed_at_the_end() -> None:
    whole = SimpleNamespace(id=None, name="x", arguments='{"a":1}')
    parser = ScriptedParser(
        [parsed(calls=[part(0, id="a", name="x", arguments='{"a":')])], (None, None, [whole])
    )
    (step,) = read(parser, Output("…", "stop"))
    assert step.deltas == (ToolCallDelta(0, "a", "x", '{"a":1}'),)


def test_output_that_breaks_its_format_is_typed() -> None:
    with pytest.raises(OutputUnparseable):
        read(ScriptedParser([KeyError("<|channel|>")]), Output("…"))


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_request_that_the_engine_gave_up_is_typed(reason: str) -> None:
    with pytest.raises(EngineFailed):
        read(None, Output("", reason))
