"""Which of the engine's parsers fits a model, where the settings name none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parsers:
    """Names of the engine's parsers; empty where there is none."""

    tools: str = ""
    reasoning: str = ""


NONE = "none"
"""What the settings name where a model is to have no parser though its family has one."""

# By `model_type` of the model's config.json; names as vLLM 0.32 registers them.
FAMILIES = {
    "cohere2": Parsers("cohere_command3", "cohere_command3"),
    "deepseek_v3": Parsers("deepseek_v3", "deepseek_r1"),
    "deepseek_v32": Parsers("deepseek_v32", "deepseek_v3"),
    "deepseek_v4": Parsers("deepseek_v4", "deepseek_v4"),
    "ernie4_5_moe": Parsers("ernie45", "ernie45"),
    "gemma4": Parsers("gemma4", "gemma4"),
    "gemma4_text": Parsers("gemma4", "gemma4"),
    "gemma4_unified": Parsers("gemma4", "gemma4"),
    "glm4_moe": Parsers("glm45", "glm45"),
    "gpt_oss": Parsers("openai", "openai_gptoss"),
    "granite": Parsers("granite", "granite"),
    "kimi_k2": Parsers("kimi_k2", "kimi_k2"),
    "llama": Parsers("llama3_json"),
    "llama4": Parsers("llama4_pythonic"),
    "minimax_m2": Parsers("minimax_m2", "minimax_m2"),
    "ministral3": Parsers("mistral", "mistral"),
    "mistral": Parsers("mistral", "mistral"),
    "mistral3": Parsers("mistral", "mistral"),
    "mistral4": Parsers("mistral", "mistral"),
    "mixtral": Parsers("mistral"),
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
        tools: The parser of tool calls that the settings name; `NONE` for none, empty to choose.
        reasoning: The same for the parser of reasoning.
    """
    if model_type == "deepseek_v3" and chat_template:
        found = _deepseek(chat_template)
    else:
        family, written = FAMILIES.get(model_type, Parsers()), _by_template(chat_template)
        # `<think>` is common to many families; one with a parser of its own keeps it.
        found = Parsers(written.tools or family.tools, family.reasoning or written.reasoning)
    return Parsers(_named(tools, found.tools), _named(reasoning, found.reasoning))


def _named(setting: str, found: str) -> str:
    """What the settings name, which may be that there is none."""
    return "" if setting == NONE else setting or found


def _by_template(chat_template: str) -> Parsers:
    """What the markers in a template tell."""
    tools = ""
    if "<function=" in chat_template:
        tools = "qwen3_coder"
    elif "<tool_call>" in chat_template and "<arg_key>" not in chat_template:
        tools = "hermes"
    return Parsers(tools, "qwen3" if "<think>" in chat_template else "")


def _deepseek(chat_template: str) -> Parsers:
    """Three models of one shape: V3 never reasons, R1 always, V3.1, which has no fences, if asked to."""
    if "<｜tool▁sep｜>" in chat_template and "```json" not in chat_template:
        return Parsers("deepseek_v31", "deepseek_v3")
    return Parsers("deepseek_v3", "deepseek_r1" if "<think>" in chat_template else "")
