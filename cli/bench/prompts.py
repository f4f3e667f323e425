"""What `parley bench` asks, and a model that never stops by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question

LONG_TOKENS = 6000
PROBED_QUESTIONS = 16

EOS_FREE = ("config.json", "generation_config.json")
"""Where a model in Hugging Face's layout names its end-of-text tokens for the engine."""


def bench_question(number: int) -> str:
    """The question of a stream: each its own, so that no stream profits from another's prefix."""
    return f"Number {number} asks: what can you tell me about {number * 7919 % 1000}?"


async def long_question(client: Client) -> Callable[[int], chat_pb2.ChatRequest]:
    """Makes requests whose prompt takes long to read: three quarters of the context, each its own."""
    (model, *_) = await client.list_models()
    async with client.chat(_long(0, PROBED_QUESTIONS)) as events:
        tokens = (await anext(events)).started.prompt_tokens
    wanted = min(model.context_length * 3 // 4, LONG_TOKENS)
    return lambda number: _long(number, max(1, wanted * PROBED_QUESTIONS // tokens))


def _long(number: int, questions: int) -> chat_pb2.ChatRequest:
    # The numbers must not change the length, and prompts not begin alike.
    asked = (bench_question(10_000 + 50 * (number % 1000) + each) for each in range(questions))
    return question(" ".join(asked), all_tools=False)


def endless_copy(model: Path, target: Path) -> Path:
    """Copies a model so that it does not know its end of text.

    The contract has no way to ignore the end, and streams that end at
    different lengths cannot be compared.

    Raises:
        OSError: The model cannot be read, or the copy not be written.
    """
    shutil.copytree(model, target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in EOS_FREE:
        file = target / name
        if file.exists():
            settings = json.loads(file.read_text())
            settings.pop("eos_token_id", None)
            file.write_text(json.dumps(settings))
    tokenizer = target / "tokenizer_config.json"
    settings = json.loads(tokenizer.read_text())
    settings["eos_token"] = settings.get("pad_token", settings.get("eos_token"))
    tokenizer.write_text(json.dumps(settings))
    return target
