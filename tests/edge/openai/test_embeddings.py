"""Embeddings as OpenAI's clients ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.edge.openai.conftest import EMBEDDER, MARKS, MODEL, Surface
from tests.edge.openai.test_refusals import error
from tests.inference.scripted_embedder import CONTEXT_LENGTH, DIMENSIONS, VOCABULARY_SIZE

pytestmark = MARKS

PATH = "/v1/embeddings"


async def test_the_official_client_gets_a_vector_for_each_text(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=EMBEDDER, input=["one two", "three"])
    assert [each.embedding for each in answer.data] == [[3, 3, 0, 0], [5, 0, 0, 0]]
    assert [each.index for each in answer.data] == [0, 1]
    assert (answer.object, answer.model) == ("list", EMBEDDER)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 3)


async def test_one_text_needs_no_list(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=EMBEDDER, input="seven", encoding_format="float")
    assert [each.embedding for each in answer.data] == [[5, 0, 0, 0]]


@pytest.mark.parametrize(
    ("given", "vectors", "used"),
    [([3, 5], [[3, 5, 0, 0]], 2), ([[3], [5, 1]], [[3, 0, 0, 0], [5, 1, 0, 0]], 3)],
)
async def test_texts_may_come_as_tokens(
    client: AsyncOpenAI, given: Any, vectors: list[list[float]], used: int
) -> None:
    answer = await client.embeddings.create(model=EMBEDDER, input=given)
    assert [each.embedding for each in answer.data] == vectors
    assert answer.usage.prompt_tokens == used


async def test_fewer_dimensions_are_given_where_the_model_has_them(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=EMBEDDER, input="one two", dimensions=2)
    assert answer.data[0].embedding == [3, 3]
    with pytest.raises(BadRequestError) as caught:
        await client.embeddings.create(model=EMBEDDER, input="one", dimensions=DIMENSIONS + 1)
    assert (caught.value.code, caught.value.param) == ("dimensions_not_offered", "dimensions")


async def test_a_text_beyond_the_context_is_refused_with_both_numbers(client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        await client.embeddings.create(model=EMBEDDER, input="word " * (CONTEXT_LENGTH + 1))
    assert caught.value.code == "context_length_exceeded"
    assert str(CONTEXT_LENGTH) in caught.value.message
    assert str(CONTEXT_LENGTH + 1) in caught.value.message


@pytest.mark.parametrize(
    ("fields", "code", "parameter"),
    [
        ({"input": None}, "invalid_value", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": [""]}, "invalid_value", "input[0]"),
        ({"input": ["x"] * 2049}, "invalid_value", "input"),
        ({"input": {"text": "x"}}, "invalid_value", "input"),
        ({"input": ["x", 1]}, "invalid_value", "input[1]"),
        ({"input": ["x", [1]]}, "invalid_value", "input[1]"),
        ({"input": [[1], "x"]}, "invalid_value", "input[1]"),
        ({"input": [[1], []]}, "invalid_value", "input"),
        ({"input": [1, "x"]}, "invalid_value", "input"),
        ({"input": [1, True]}, "invalid_value", "input"),
        ({"input": [[1], [2**40]]}, "invalid_value", "input[1]"),
        ({"input": [[1]] * 2049}, "invalid_value", "input"),
        ({"input": [VOCABULARY_SIZE]}, "token_unknown", None),
        ({"dimensions": 0}, "invalid_value", "dimensions"),
        ({"dimensions": 2**40}, "invalid_value", "dimensions"),
        ({"encoding_format": "bytes"}, "invalid_value", "encoding_format"),
        ({"encoding_format": ["float"]}, "invalid_value", "encoding_format"),
        ({"dimensions": "many"}, "invalid_value", "dimensions"),
        ({"truncate_prompt_tokens": 2}, "unsupported_parameter", "truncate_prompt_tokens"),
        ({"model": MODEL}, "model_of_other_kind", "model"),
        ({"model": 1}, "invalid_value", "model"),
    ],
    ids=lambda value: json.dumps(value)[:32] if isinstance(value, dict) else None,
)
async def test_what_is_not_served_is_refused_by_its_name(
    surface: Surface, fields: dict[str, Any], code: str, parameter: str | None
) -> None:
    body = {"model": EMBEDDER, "input": "x", **fields}
    answer = await surface.post(PATH, json.dumps(body))
    assert answer.status_code == 400
    told = error(answer)
    assert (told["code"], told["param"]) == (code, parameter), told


async def test_a_model_that_embeds_does_not_chat(client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model=EMBEDDER, messages=[{"role": "user", "content": "Hi"}])
    assert (caught.value.code, caught.value.param) == ("model_of_other_kind", "model")
