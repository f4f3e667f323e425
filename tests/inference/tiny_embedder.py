"""A folder with a pooling model whose vectors are known: each text's points at its last token."""

from __future__ import annotations

from pathlib import Path

from tests.inference.tiny_model import make as make_chat_model


def make(folder: Path) -> Path:
    """Write the tiny chat model without its head: what is left pools the last token's one-hot embedding."""
    from transformers import AutoModelForCausalLM

    make_chat_model(folder)
    body = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").model
    body.config.is_matryoshka = True
    body.save_pretrained(folder)
    return folder
