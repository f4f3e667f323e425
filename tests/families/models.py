"""Tiny models of the large families, whose weights spell a turn in the family's own markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.inference import families, harmony_turns
from tests.inference.families import MISTRAL, ONE, REASONING, Call, Family
from tests.inference.spelled import spell

BEGIN = "<|begin of an answer|>"
CONTEXT_LENGTH = 512
HEAD = 64
WIDTH = 128

_SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": HEAD,
    "max_position_embeddings": CONTEXT_LENGTH,
    "bos_token_id": None,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class FamilyModel:
    """A model of a family.

    Attributes:
        family: The family.
        kind: What transformers calls its networks.
        shape: What its configuration has beside that of all.
        calls: What it is made to call.
        reasons: Whether it is made to reason first.
    """

    family: Family
    kind: str
    shape: dict[str, Any] = field(default_factory=dict)
    calls: tuple[Call, ...] = ONE
    reasons: bool = True

    @property
    def reasoning(self) -> str:
        """What it reasons."""
        return REASONING if self.reasons and self.family.reason else ""

    @property
    def said(self) -> str:
        """All that it says, markup included."""
        thought = self.family.reason(REASONING) if self.reasoning and self.family.reason else ""
        return thought + self.family.call(self.calls) + self.family.end

    def make(self, folder: Path) -> Path:
        """Write the model into the folder."""
        makers: dict[str, Callable[[FamilyModel, Path], list[int]]] = {
            "mistral": _with_tekken,
            "gpt_oss": _with_harmony,
        }
        script = makers.get(self.family.model_type, _with_markers)(self, folder)
        _write_network(self, script, folder)
        if self.family.model_type == "mistral":
            # Mistral's own name for weights: by it vLLM knows a folder that has Mistral's own tokenizer.
            (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
        return folder


def _pieces(family: Family, text: str) -> list[str]:
    """A text cut at its markup."""
    markers = sorted({*family.markers, *family.special, family.end}, key=len, reverse=True)
    return [piece for piece in re.split(f"({'|'.join(map(re.escape, markers))})", text) if piece]


def _with_markers(model: FamilyModel, folder: Path) -> list[int]:
    """Write a tokenizer of the usual kind; gives the script's tokens."""
    from transformers import AutoTokenizer

    family = model.family
    pieces = _pieces(family, model.said)
    begin = family.prompt or BEGIN
    families.write_tokenizer(family, folder, pieces=[*pieces, begin])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # What of the family's own template tells its parsers stands in a remark.
    marks = family.chat_template.replace("{%", "").replace("%}", "")
    tokenizer.chat_template = (
        f"{{# {marks} #}}{{%- for message in messages %}}{{{{ message.content }}}}{{% endfor %}}{begin}"
    )
    tokenizer.save_pretrained(folder)
    return [int(tokenizer.convert_tokens_to_ids(piece)) for piece in (begin, *pieces)]


def _with_tekken(model: FamilyModel, folder: Path) -> list[int]:
    """Write Mistral's kind of tokenizer; its prompts end with what closes a user's message."""
    pieces = _cut_tekken(model.said)
    families.write_tekken(folder, [piece for piece in pieces if piece not in families.TEKKEN_SPECIAL])
    special = {text: at for at, text in enumerate(families.TEKKEN_SPECIAL)}
    added = [piece for piece in pieces if piece not in special]
    ids = {piece: len(special) + 256 + at for at, piece in enumerate(added)}
    return [special["[/INST]"], *(special.get(piece, ids.get(piece, 0)) for piece in pieces)]


def _cut_tekken(text: str) -> list[str]:
    markers = "|".join(map(re.escape, families.TEKKEN_SPECIAL))
    return [piece for piece in re.split(f"({markers})", text) if piece]


def _with_harmony(model: FamilyModel, folder: Path) -> list[int]:
    """Write gpt-oss's own vocabulary; its prompts end with who speaks."""
    harmony_turns.write_tokenizer(folder)
    return harmony_turns.tokens("assistant" + model.family.call(model.calls))


def _write_network(model: FamilyModel, script: Sequence[int], folder: Path) -> None:
    import torch
    import transformers

    size = {"gpt_oss": harmony_turns.VOCABULARY}.get(model.family.model_type, max(script) + 512)
    config: Any = getattr(transformers, f"{model.kind}Config")(
        vocab_size=size, eos_token_id=script[-1], pad_token_id=None, **{**_SMALL, **model.shape}
    )
    torch.manual_seed(0)
    name = f"{model.kind.removesuffix('Text')}ForCausalLM"
    network = getattr(transformers, name)(config).to(torch.bfloat16)
    spell(network, list(script))
    network.save_pretrained(folder)


def _harmony(calls: Sequence[Call]) -> str:
    """One call, in the only message of its turn."""
    return harmony_turns.turn("", calls).rpartition("<|start|>assistant")[2]


_BY_NAME = {family.name: family for family in families.FAMILIES}
GPT_OSS = Family("gpt-oss", "gpt_oss", _harmony, end="<|call|>")
_EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1, "max_position_embeddings": 131_072}
MODELS = (
    FamilyModel(_BY_NAME["llama 3"], "Llama"),
    FamilyModel(_BY_NAME["qwen3"], "Qwen3"),
    FamilyModel(MISTRAL, "Mistral"),
    FamilyModel(
        _BY_NAME["deepseek r1"],
        "DeepseekV3",
        {
            "head_dim": None,
            "num_key_value_heads": 2,
            "q_lora_rank": HEAD,
            "kv_lora_rank": 512,  # what vLLM's kernel for CPUs is made for
            "qk_rope_head_dim": HEAD,
            "qk_nope_head_dim": HEAD,
            "v_head_dim": HEAD,
            "moe_intermediate_size": HEAD,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
            "topk_method": "noaux_tc",  # what its router's bias is for
        },
    ),
    FamilyModel(
        _BY_NAME["gemma 4"],
        "Gemma4Text",
        {"hidden_size_per_layer_input": 0, "global_head_dim": HEAD, "layer_types": ["full_attention"] * 2},
        calls=(("time_now", {}),),
    ),
    FamilyModel(GPT_OSS, "GptOss", _EXPERTS, reasons=False),
)
