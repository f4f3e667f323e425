"""Which of the engine's parsers fits a model, where the settings name none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parsers:
    """Names of the engine's parsers; empty where there is none."""

    tools: str = ""
    reasoning: str = ""


# By `model_type` of the model's config.json; names as vLLM 0.32 registers them.
FAMILIES = {
    "cohere2": Parsers("cohere_command3", "cohere_command3"),
    "deepseek_v3": Parsers("deepseek_v3", "deepseek_r1"),
    "deepseek_v32": Parsers("deepseek_v32", "deepseek_v3"),
    "ernie4_5_moe": Parsers("ernie45", "ernie45"),
    "gemma4": Parsers("gemma4", "gemma4"),
    "glm4_moe": Parsers("glm45", "glm45"),
    "gpt_oss": Parsers("openai", "openai_gptoss"),
    "granite": Parsers("granite", "granite"),
    "kimi_k2": Parsers("kimi_k2", "kimi_k2"),
    "llama": Parsers("llama3_json"),
    "llama4": Parsers("llama4_pythonic"),
    "minimax_m2": Parsers("minimax_m2", "minimax_m2"),
    "mistral": Parsers("mistral"),
    "qwen2": Parsers("hermes"),
    "qwen3": Parsers("hermes", "qwen3"),
    "qwen3_moe": Parsers("hermes", "qwen3"),
    "seed_oss": Parsers("seed_oss", "seed_oss"),
}


def choose(model_type: str, chat_template: str, *, tools: str = "", reasoning: str = "") -> Parsers:
    """The parsers for a model.

    Fine-tunes keep a family's shape and change its language, so what the chat
    template writes counts for more than the family.

    Args:
        model_type: The model's family, as its configuration says.
        chat_template: The template that renders its prompts; empty if unknown.
        tools: The parser of tool calls that the settings name, if any.
        reasoning: The parser of reasoning that they name, if any.
    """
    family = FAMILIES.get(model_type, Parsers())
    written = _by_template(chat_template)
    return Parsers(
        tools or written.tools or family.tools, reasoning or _reasoning(written, family) or family.reasoning
    )


def _by_template(chat_template: str) -> Parsers:
    """What the markers in a template tell."""
    tools = ""
    if "<function=" in chat_template:
        tools = "qwen3_coder"
    elif "<tool_call>" in chat_template and "<arg_key>" not in chat_template:
        tools = "hermes"
    return Parsers(tools, "qwen3" if "<think>" in chat_template else "")


def _reasoning(written: Parsers, family: Parsers) -> str:
    """`<think>` is common to many families; one with a parser of its own keeps it."""
    return family.reasoning or written.reasoning
