"""What models of the large families say, in their own markup, and tokenizers that know it.

The tokenizers are made here: bytes, the family's markers, and some longer pieces.
gpt-oss has a module of its own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from services.inference.engine.turn import ToolSpec

NESTED = {"text": 'café "x" \\ {東}', "deep": {"list": [{"brace": "}\n]"}]}}
REASONING = "I need it.\nNaïve 東"
CONTENT = "Sure: 4 < 5, {x} 東."

_DEEP = {
    "type": "object",
    "properties": {
        "list": {
            "type": "array",
            "items": {"type": "object", "properties": {"brace": {"type": "string"}}},
        }
    },
}
TOOLS = (
    ToolSpec(
        "inspect_text",
        "Inspects.",
        {"type": "object", "properties": {"text": {"type": "string"}, "deep": _DEEP}},
    ),
    ToolSpec("time_now", "Tells.", {"type": "object", "properties": {"zone": {"type": "string"}}}),
)

Call = tuple[str, dict[str, Any]]
ONE: tuple[Call, ...] = (("time_now", {"zone": "Asia/Seoul"}),)
TWO: tuple[Call, ...] = (("inspect_text", NESTED), *ONE)


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: How tests call it.
        model_type: As its config.json says.
        chat_template: What of its chat template tells its parsers.
        markers: Tokens of its markup that a decoder shows.
        special: Tokens of its markup that a decoder leaves out where it is asked to.
        end: The token that ends a turn.
        reason: Writes reasoning; None where the family has no markup for it.
        call: Writes calls.
        prompt: How its prompts end.
        thinking: What the request says of reasoning.
    """

    name: str
    model_type: str
    call: Callable[[Sequence[Call]], str]
    reason: Callable[[str], str] | None = None
    chat_template: str = ""
    markers: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    end: str = "<eos>"
    prompt: str = ""
    thinking: bool | None = None

    def turn(self, content: str = "", calls: Sequence[Call] = ()) -> str:
        """A turn that reasons, if the family does, says the content and makes the calls."""
        reasoning = self.reason(REASONING) if self.reason else ""
        return reasoning + content + (self.call(calls) if calls else "")


def compact(value: object) -> str:
    """JSON as models write it: nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False)


def _think(text: str) -> str:
    return f"<think>\n{text}\n</think>\n\n"


def _llama(calls: Sequence[Call]) -> str:
    bodies = [compact({"name": name, "parameters": arguments}) for name, arguments in calls]
    return "<|python_tag|>" + "; ".join(bodies)


def _hermes(calls: Sequence[Call]) -> str:
    bodies = [compact({"name": name, "arguments": arguments}) for name, arguments in calls]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)


def _qwen3_coder(calls: Sequence[Call]) -> str:
    return "\n".join(
        f"<tool_call>\n<function={name}>\n"
        + "".join(
            f"<parameter={key}>\n{value if isinstance(value, str) else compact(value)}\n</parameter>\n"
            for key, value in arguments.items()
        )
        + "</function>\n</tool_call>"
        for name, arguments in calls
    )


def _mistral(calls: Sequence[Call]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{compact(arguments)}" for name, arguments in calls)


def _deepseek(pattern: str) -> Callable[[Sequence[Call]], str]:
    def write(calls: Sequence[Call]) -> str:
        bodies = [pattern.format(name=name, arguments=compact(arguments)) for name, arguments in calls]
        joined = "".join(f"<｜tool▁call▁begin｜>{body}<｜tool▁call▁end｜>" for body in bodies)
        return f"<｜tool▁calls▁begin｜>{joined}<｜tool▁calls▁end｜>"

    return write


def _gemma4(calls: Sequence[Call]) -> str:
    return "".join(
        f"<|tool_call>call:{name}{_gemma4_value(arguments)}<tool_call|>" for name, arguments in calls
    )


def _gemma4_value(value: object) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{key}:{_gemma4_value(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ",".join(_gemma4_value(each) for each in value) + "]"
        case _:
            return f'<|"|>{value}<|"|>'


def _kimi_k2(calls: Sequence[Call]) -> str:
    bodies = "".join(
        f"<|tool_call_begin|>functions.{name}:{at}<|tool_call_argument_begin|>{compact(arguments)}"
        "<|tool_call_end|>"
        for at, (name, arguments) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{bodies}<|tool_calls_section_end|>"


THINK = ("<think>", "</think>")
DEEPSEEK = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
)
FAMILIES = (
    Family("llama 3", "llama", _llama, special=("<|python_tag|>",), end="<|eot_id|>"),
    Family(
        "qwen3",
        "qwen3",
        _hermes,
        _think,
        chat_template="<think></think><tool_call>",
        markers=(*THINK, "<tool_call>", "</tool_call>"),
        end="<|im_end|>",
    ),
    Family(
        "qwen3 coder",
        "qwen3_moe",
        _qwen3_coder,
        _think,
        chat_template="<tool_call><function=name>",
        markers=(*THINK, "<tool_call>", "</tool_call>"),
        end="<|im_end|>",
    ),
    Family(
        "deepseek r1",
        "deepseek_v3",
        _deepseek("function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"),
        lambda text: f"{text}</think>",
        chat_template="<think><｜tool▁call▁begin｜>function<｜tool▁sep｜>```json",
        markers=(*THINK, *DEEPSEEK),
        prompt="<think>",
    ),
    Family(
        "deepseek v3.1",
        "deepseek_v3",
        _deepseek("{name}<｜tool▁sep｜>{arguments}"),
        lambda text: f"{text}</think>",
        chat_template="{% if thinking %}<think>{% endif %}<｜tool▁call▁begin｜><｜tool▁sep｜>",
        markers=(*THINK, *DEEPSEEK),
        prompt="<think>",
        thinking=True,
    ),
    Family(
        "gemma 4",
        "gemma4",
        _gemma4,
        lambda text: f"<|channel>thought\n{text}<channel|>",
        special=("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>', "<turn|>", "<|turn>"),
    ),
    Family(
        "kimi k2",
        "kimi_k2",
        _kimi_k2,
        lambda text: f"<think>{text}</think>",
        markers=THINK,
        special=(
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_begin|>",
            "<|tool_call_end|>",
            "<|tool_call_argument_begin|>",
        ),
    ),
)


def write_tokenizer(family: Family, folder: Path, pieces: Sequence[str] = ()) -> Path:
    """A tokenizer of the Hugging Face kind with the family's markup, and these pieces as single tokens."""
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: at for at, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in (*family.special, family.end)]
    tokenizer.add_special_tokens(special)
    # Longer tokens, as real tokenizers have, which also reach across the markup of JSON.
    words = dict.fromkeys(re.findall(r"[A-Za-z_]{2,}|[\"{}\[\]:,]{2,}", family.turn(CONTENT, TWO)))
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (*family.markers, *words, *pieces)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=family.end, clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
    return folder


# The library asks for some of these by name.
TEKKEN_SPECIAL = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "<pad>",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
    "[ARGS]",
    "[CALL_ID]",
    "[THINK]",
    "[/THINK]",
)
MISTRAL = Family("mistral", "mistral", _mistral, lambda text: f"[THINK]{text}[/THINK]", end="</s>")


def write_tekken(folder: Path, pieces: Sequence[str] = ()) -> Path:
    """Mistral's own kind of tokenizer, for its format 13: bytes, these pieces and control tokens."""
    known = [*(bytes([byte]) for byte in range(256)), *(piece.encode() for piece in pieces)]
    document = {
        "config": {
            "pattern": r"\p{L}+|\p{N}|\s+|.",
            "num_vocab_tokens": len(known),
            "default_vocab_size": len(known) + len(TEKKEN_SPECIAL),
            "default_num_special_tokens": len(TEKKEN_SPECIAL),
            "version": "v13",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(known)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(TEKKEN_SPECIAL)
        ],
    }
    (folder / "tekken.json").write_text(json.dumps(document))
    return folder
