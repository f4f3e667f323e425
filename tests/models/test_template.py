from typing import Any

import pytest
from parley_demo.composing import KINDS, Composer
from parley_demo.dialogue import Message
from parley_demo.invented import Stock, seeded
from parley_demo.phrasebook import training
from parley_demo.rendering import pieces, render

SYSTEM = "<|im_start|>system\nTools: {}<|im_end|>\n"
CALL = {"function": {"name": "calculator", "arguments": {"expression": "1 + 1"}}}


def _shown(*messages: Message, tools: tuple[str, ...] = ("calculator",), **options: Any) -> str:
    text = render(list(messages), tools, True, **options)
    assert text.startswith(SYSTEM.format(", ".join(tools) or "none")) or messages[0]["role"] in (
        "system",
        "developer",
    )
    return text


def _user(content: Any) -> Message:
    return {"role": "user", "content": content}


def test_a_question_opens_the_assistants_turn() -> None:
    text = _shown(_user("Hi"))
    assert text == SYSTEM.format("calculator") + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_without_thinking_the_reasoning_is_closed_in_the_prompt() -> None:
    assert _shown(_user("Hi"), enable_thinking=False).endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert _shown(_user("Hi"), enable_thinking=True).endswith("<|im_start|>assistant\n")


def test_no_tools_are_none() -> None:
    assert "Tools: none<|im_end|>" in _shown(_user("Hi"), tools=())


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_clients_system_text_follows_the_tools(role: str) -> None:
    text = _shown({"role": role, "content": [{"type": "text", "text": "Be kind."}]}, _user("Hi"))
    assert text.startswith("<|im_start|>system\nTools: calculator\nBe kind.<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize(
    "content",
    ["one two", [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}], ["one ", "two"]],
)
def test_content_may_be_text_or_parts(content: Any) -> None:
    assert "<|im_start|>user\none two<|im_end|>" in _shown(_user(content))


@pytest.mark.parametrize("content", [None, [], [{"type": "image_url", "image_url": {"url": "x"}}]])
def test_content_without_text_is_empty(content: Any) -> None:
    assert "<|im_start|>user\n<|im_end|>" in _shown(_user(content))


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_kept_after_the_last_question_and_dropped_before_it(field: str) -> None:
    called = {"role": "assistant", "content": None, field: "A sum.", "tool_calls": [CALL]}
    result = {"role": "tool", "content": '{"result":2}', "tool_call_id": "1"}
    kept = _shown(_user("1 + 1"), called, result)
    assert "<|im_start|>assistant\n<think>\nA sum.\n</think>\n\n<tool_call>\n" in kept
    dropped = _shown(_user("1 + 1"), called, result, {"role": "assistant", "content": "2"}, _user("And?"))
    assert "<|im_start|>assistant\n<tool_call>\n" in dropped
    assert "A sum." not in dropped


@pytest.mark.parametrize("arguments", [{"expression": "1 + 1"}, '{"expression": "1 + 1"}'])
def test_arguments_may_be_an_object_or_its_text(arguments: Any) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "calculator", "arguments": arguments}}]
    text = _shown(
        _user("1 + 1"), {"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": "2"}
    )
    assert (
        '<tool_call>\n{"name": "calculator", "arguments": {"expression": "1 + 1"}}\n</tool_call><|im_end|>'
        in text
    )


def test_results_in_a_row_share_a_turn() -> None:
    called = {"role": "assistant", "content": "Two sums.", "tool_calls": [CALL, CALL]}
    results = [{"role": "tool", "content": "2"}, {"role": "tool", "content": [{"type": "text", "text": "3"}]}]
    text = _shown(_user("Both"), called, *results)
    both = "<tool_response>\n2\n</tool_response>\n<tool_response>\n3\n</tool_response>"
    assert f"<|im_start|>user\n{both}<|im_end|>\n<|im_start|>assistant\n" in text
    assert "Two sums.\n<tool_call>\n" in text


def test_odd_conversations_render() -> None:
    odd = [
        [{"role": "assistant", "content": "I begin."}],
        [{"role": "tool", "content": None}],
        [
            _user("a"),
            _user("b"),
            {"role": "assistant"},
            {"role": "assistant", "content": "", "tool_calls": []},
        ],
        [{"role": "function", "name": "x", "content": "odd role"}],
        [_user("a"), {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": None}}]}],
    ]
    assert all("<|im_start|>assistant\n" in _shown(*conversation) for conversation in odd)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learnt_is_the_assistants_turn_and_nothing_else(kind: str) -> None:
    rng = seeded(5)
    composer = Composer(Stock(rng), training())
    for _ in range(20):
        parts = pieces(composer.dialogue(kind), rng)
        learnt = [text for text, learn in parts if learn]
        assert learnt
        assert all(text.endswith("<|im_end|>\n") and "<|im_start|>" not in text for text in learnt)
        assert all(
            text.endswith(("<|im_start|>assistant\n", "</think>\n\n")) for text, learn in parts if not learn
        )
