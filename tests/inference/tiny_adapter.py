"""An adapter of the tiny model, after which it says something else at one place of its script."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from tests.inference.adapters.made import make_adapter, pair

MLP = "model.layers.0.mlp"
STRENGTH = 0.1


def make_twist(model: Path, folder: Path, after: str, as_after: str) -> Path:
    """Write an adapter by which the tiny model goes on after one piece as it does after another.

    Its feed-forward part is zero. This opens one gate for `after`, which adds `as_after` to what
    is said last.
    """
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    config = json.loads((model / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heard, meant = tokenizer.token_to_id(after), tokenizer.token_to_id(as_after)
    tensors = {}
    for part, shape, place, strength in (
        ("gate_proj", (inner, hidden), (heard, 0), 1.0),
        ("up_proj", (inner, hidden), (heard, 0), 1.0),
        ("down_proj", (hidden, inner), (0, meant), STRENGTH),
    ):
        for name, tensor in pair(f"{MLP}.{part}", shape, rank=1, value=0.0).items():
            if "lora_A" in name:
                tensor[0, place[0]] = 1.0
            else:
                tensor[place[1], 0] = strength
            tensors[name] = tensor
    return make_adapter(
        folder, tensors, rank=1, alpha=1, target_modules=["gate_proj", "up_proj", "down_proj"]
    )
