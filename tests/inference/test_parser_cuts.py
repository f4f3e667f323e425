"""vLLM's real parsers behind `TurnReader`: whatever the cuts, the same turn is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.inference.engine import ContentDelta, ReasoningDelta, Sampling, ToolCallDelta, ToolSpec, Turn
from services.inference.turn_reader import TurnReader
from tests.inference.tiny_model import make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # importing vLLM on two busy cores
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own, which nobody here can mend
]

TOOLS = (ToolSpec("calculator", "Calculates.", {"type": "object"}), ToolSpec("time_now", "Tells.", {}))
ONE_CALL = (
    "<think>\nI need it.\n</think>\n\n"
    '<tool_call>\n{"name": "calculator", "arguments": {"expression": "17 * 23"}}\n</tool_call>'
)
TWO_CALLS = (
    "<think>\nBoth.\n</think>\n\n"
    '<tool_call>\n{"name": "calculator", "arguments": {"expression": "(1 + 2) * 3"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "time_now", "arguments": {"timezone": "Asia/Seoul"}}\n</tool_call>'
)
PLAIN = "<think>\nEasy.\n</think>\n\nIt is 4 < 5, and {braces} stay."
MALFORMED = "<think>\nHm.\n</think>\n\n<tool_call>\nnot json at all\n</tool_call>"


@dataclass
class Said:
    """A turn, put together again."""

    reasoning: str
    content: str
    calls: list[tuple[str, str]]
    streamed: list[str]


@dataclass
class Output:
    text: str
    token_ids: list[int]
    finish_reason: str | None
    logprobs: None = None
    stop_reason: None = None


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from vllm.tokenizers import get_tokenizer

    return get_tokenizer(str(make(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def parser_class(tokenizer: Any) -> Any:
    from vllm.parser import ParserManager

    return ParserManager.get_parser("hermes", "qwen3", enable_auto_tools=True, tokenizer=tokenizer)


@pytest.fixture
def read(tokenizer: Any, parser_class: Any) -> Callable[[list[list[int]]], Said]:
    """Reads a turn that arrives as these groups of tokens."""
    from services.inference.vllm_engine import chat_request

    def run(groups: list[list[int]]) -> Said:
        request = chat_request(Turn((), TOOLS, Sampling()))
        reader = TurnReader("m", lambda: parser_class(tokenizer, request.tools), request, 1)
        reading, content, streamed = [], [], {}
        for at, group in enumerate(groups):
            finish = "stop" if at == len(groups) - 1 else None
            step = reader.read(Output(tokenizer.decode(group), group, finish), 0, [1])
            for delta in step.deltas:
                match delta:
                    case ReasoningDelta(text):
                        reading.append(text)
                    case ContentDelta(text):
                        content.append(text)
                    case ToolCallDelta(index, _, _, arguments):
                        streamed[index] = streamed.get(index, "") + arguments
        assert step.end is not None
        calls = [(call.name, call.arguments) for call in step.end.calls]
        return Said("".join(reading).strip(), "".join(content).strip(), calls, list(streamed.values()))

    return run


def cuts(tokens: list[int]) -> Iterator[list[list[int]]]:
    """All at once, one by one, and in two at every place."""
    yield [tokens]
    yield [[token] for token in tokens]
    for at in range(1, len(tokens)):
        yield [tokens[:at], tokens[at:]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE_CALL, Said("I need it.", "", [("calculator", '{"expression": "17 * 23"}')], [])),
        (
            TWO_CALLS,
            Said(
                "Both.",
                "",
                [
                    ("calculator", '{"expression": "(1 + 2) * 3"}'),
                    ("time_now", '{"timezone": "Asia/Seoul"}'),
                ],
                [],
            ),
        ),
        (PLAIN, Said("Easy.", "It is 4 < 5, and {braces} stay.", [], [])),
    ],
)
def test_every_cut_reads_the_same(
    read: Callable[[list[list[int]]], Said], tokenizer: Any, text: str, expected: Said
) -> None:
    tokens = tokenizer.encode(text, add_special_tokens=False)
    tried = 0
    for groups in cuts(tokens):
        said = read(groups)
        assert (said.reasoning, said.content, said.calls) == (
            expected.reasoning,
            expected.content,
            expected.calls,
        ), [tokenizer.decode(group) for group in groups]
        assert said.streamed == [arguments for _, arguments in said.calls]
        tried += 1
    assert tried == len(tokens) + 1


def test_a_call_that_cannot_be_read_is_shown_as_it_was_said(
    read: Callable[[list[list[int]]], Said], tokenizer: Any
) -> None:
    for groups in cuts(tokenizer.encode(MALFORMED, add_special_tokens=False)):
        said = read(groups)
        assert said.calls == []
        assert "not json at all" in said.content
