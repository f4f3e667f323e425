from __future__ import annotations

import pytest

from services.inference.reading.parsers import Parsers, choose


@pytest.mark.parametrize(
    ("model_type", "template", "expected"),
    [
        ("llama", "", Parsers("llama3_json")),
        ("llama", "<tool_call>\n{...}</tool_call>", Parsers("hermes")),
        ("llama", "<think></think><tool_call>", Parsers("hermes", "qwen3")),
        ("qwen3", "<think><tool_call>", Parsers("hermes", "qwen3")),
        ("qwen3_moe", "<tool_call><function=name>", Parsers("qwen3_coder", "qwen3")),
        ("glm4_moe", "<think><tool_call><arg_key>", Parsers("glm45", "glm45")),
        ("deepseek_v3", "<think>", Parsers("deepseek_v3", "deepseek_r1")),
        ("deepseek_v3", "", Parsers("deepseek_v3", "deepseek_r1")),
        ("deepseek_v3", "<｜tool▁sep｜>```json", Parsers("deepseek_v3")),
        ("deepseek_v3", "<｜tool▁sep｜>```json<think>", Parsers("deepseek_v3", "deepseek_r1")),
        ("deepseek_v3", "{% if thinking %}<think><｜tool▁sep｜>", Parsers("deepseek_v31", "deepseek_v3")),
        ("mistral3", "", Parsers("mistral", "mistral")),
        ("gemma4_text", "", Parsers("gemma4", "gemma4")),
        ("gpt_oss", "", Parsers("openai", "openai_gptoss")),
        ("unheard_of", "", Parsers()),
    ],
)
def test_the_template_counts_for_more_than_the_family(
    model_type: str, template: str, expected: Parsers
) -> None:
    assert choose(model_type, template) == expected


def test_settings_count_most() -> None:
    chosen = choose("qwen3", "<think><tool_call>", tools="pythonic", reasoning="step3")
    assert chosen == Parsers("pythonic", "step3")


def test_settings_can_say_that_there_is_none() -> None:
    assert choose("qwen3", "<think><tool_call>", tools="none") == Parsers("", "qwen3")
    assert choose("gpt_oss", "", tools="none", reasoning="none") == Parsers()
