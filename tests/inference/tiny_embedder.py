"""A folder with a pooling model whose vectors are known: each text's points at its last token."""

from __future__ import annotations

import json
from pathlib import Path

from tests.inference.tiny_model import make as make_chat_model

# How embedding models say that they are some: as Sentence Transformers lays them out.
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def make(folder: Path) -> Path:
    """Write the tiny chat model without its head: what is left pools the last token's one-hot embedding."""
    from transformers import AutoModelForCausalLM

    make_chat_model(folder)
    body = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").model
    body.config.is_matryoshka = True
    body.save_pretrained(folder)
    (folder / "modules.json").write_text(json.dumps(MODULES))
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    size = {"word_embedding_dimension": body.config.hidden_size}
    (pooling / "config.json").write_text(json.dumps({**size, "pooling_mode_lasttoken": True}))
    return folder
