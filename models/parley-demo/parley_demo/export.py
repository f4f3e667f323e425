"""The trained model as files that transformers and vLLM load."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from parley_demo.model import Llama, Shape
from parley_demo.tokens import END, PAD


def _config(shape: Shape, end: int, pad: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head,
        "hidden_act": "silu",
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def export(model: Llama, token_ids: dict[str, int], folder: Path) -> None:
    """Write weights in bfloat16 and the two configurations; the tokenizer lies there already."""
    tensors = {
        f"model.{name}": value.detach().cpu().to(torch.bfloat16) for name, value in model.state_dict().items()
    }
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    end, pad = token_ids[END], token_ids[PAD]
    generation = {"do_sample": False, "temperature": 0.0, "eos_token_id": end, "pad_token_id": pad}
    for name, content in (
        ("config.json", _config(model.shape, end, pad)),
        ("generation_config.json", generation),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_weights(model: Llama, file: Path) -> None:
    """Take over exported weights."""
    tensors = {name.removeprefix("model."): value.float() for name, value in load_file(str(file)).items()}
    model.load_state_dict(tensors)


def blend(before: Path, after: Path, share: float) -> None:
    """Move finished weights back towards those that training began with.

    The middle of two models of one descent is often better than either ("Model soups", Wortsman et al. 2022).

    Args:
        before: Exported weights that training began with.
        after: The finished ones, which are written anew.
        share: How much of the former the result has, 0 to 1.
    """
    old, new = (load_file(str(file)) for file in (before, after))
    mixed = {name: torch.lerp(new[name].float(), old[name].float(), share).to(torch.bfloat16) for name in new}
    save_file(mixed, str(after), metadata={"format": "pt"})
