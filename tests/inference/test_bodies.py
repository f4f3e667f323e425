"""Bodies of OpenAI's clients that are dear to read are refused before anything reads what is in them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from services.inference.errors import BodyInvalid, ParameterInvalid
from services.inference.openai_compat.bodies import MOST_STRUCTURES, read_object
from services.inference.openai_compat.parameters import (
    CHAT_COMPLETION,
    COMPLETION,
    EMBEDDING,
    RESPONSE,
    Served,
)

A_MILLION = 1_000_000


@pytest.mark.parametrize("tiny", ["{}", '{"role":"user"}'])
def test_a_million_tiny_messages_are_refused_at_once(tiny: str) -> None:
    body = f'{{"messages": [{f"{tiny}," * A_MILLION}{tiny}]}}'.encode()
    began = time.thread_time()
    with pytest.raises(BodyInvalid, match=str(MOST_STRUCTURES)):
        read_object(body)
    # What reads messages would take more than a minute.
    assert time.thread_time() - began < 5


def test_structures_count_wherever_they_are() -> None:
    fitting = [{"content": [[]] * 62} for _ in range(1024 - 1)]
    assert read_object(json.dumps({"messages": fitting}).encode())
    with pytest.raises(BodyInvalid):
        read_object(json.dumps({"messages": fitting, "tools": [[]] * 1024}).encode())


def test_numbers_and_texts_are_no_structures() -> None:
    body = {"prompt": [1] * A_MILLION, "stop": ["x"] * MOST_STRUCTURES}
    assert read_object(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    ("served", "name", "most"),
    [
        (CHAT_COMPLETION, "messages", 4096),
        (CHAT_COMPLETION, "tools", 128),
        (COMPLETION, "prompt", 2**20),
        (EMBEDDING, "input", 2**20),
        (RESPONSE, "input", 4096),
        (RESPONSE, "tools", 128),
    ],
)
def test_a_list_is_as_long_as_the_contract_allows(served: Served, name: str, most: int) -> None:
    longest: dict[str, Any] = {name: [0] * most}
    assert served.of(longest) == longest
    with pytest.raises(ParameterInvalid, match=str(most)) as refused:
        served.of({name: [0] * (most + 1)})
    assert refused.value.metadata == {"parameter": name}
