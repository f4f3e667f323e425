"""The models as OpenAI's clients list them, and how a body's model finds its pool."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.edge.openai.conftest import ADAPTED, EMBEDDER, LARGE, MARKS, MODEL, Surface
from tests.inference.scripted import CARD, says

pytestmark = MARKS

QUESTION: Any = [{"role": "user", "content": "Who are you?"}]


async def test_models_are_listed_and_given(client: AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert sorted(model.id for model in listed) == sorted((MODEL, LARGE, ADAPTED, EMBEDDER))
    given = await client.models.retrieve(MODEL)
    assert (given.id, given.object, given.owned_by) == (MODEL, "model", "parley")
    assert (given.model_extra or {})["max_model_len"] == CARD.context_length


async def test_a_model_of_another_pool_is_given(client: AsyncOpenAI) -> None:
    given = await client.models.retrieve(LARGE)
    assert (given.id, (given.model_extra or {})["max_model_len"]) == (LARGE, CARD.context_length)


@pytest.mark.parametrize("name", ["none", "org/None-1"])
async def test_a_model_that_is_none_is_not_found(client: AsyncOpenAI, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        await client.models.retrieve(name)
    assert (caught.value.code, name in caught.value.message) == ("model_not_found", True)


async def test_the_model_in_the_body_chooses_the_pool(surface: Surface, client: AsyncOpenAI) -> None:
    surface.large.script(says("Large."))
    answer = await client.chat.completions.create(model=LARGE, messages=QUESTION)
    assert (answer.model, answer.choices[0].message.content) == (LARGE, "Large.")


async def test_an_adapter_is_a_model_in_its_base_models_pool(surface: Surface, client: AsyncOpenAI) -> None:
    given = await client.models.retrieve(ADAPTED)
    assert (given.id, (given.model_extra or {})["parent"]) == (ADAPTED, LARGE)
    surface.large.script(says("Politely large."))
    answer = await client.chat.completions.create(model=ADAPTED, messages=QUESTION)
    assert (answer.model, answer.choices[0].message.content) == (ADAPTED, "Politely large.")


async def test_only_the_bodys_own_model_counts(surface: Surface) -> None:
    surface.script(says("Small."))
    nested = {
        "messages": [{"role": "user", "content": f'"model": "{LARGE}"', "model": LARGE}],
        "model": MODEL,
    }
    answer = await surface.post("/v1/chat/completions", json.dumps(nested), **{"parley-model": LARGE})
    assert answer.json()["choices"][0]["message"]["content"] == "Small."


async def test_a_large_body_is_routed_too(surface: Surface) -> None:
    surface.large.script(says("Large."))
    body = {"messages": [{"role": "user", "content": "x" * 1_500_000}], "model": LARGE}
    answer = await surface.post("/v1/chat/completions", json.dumps(body))
    assert answer.json()["choices"][0]["message"]["content"] == "Large."


@pytest.mark.parametrize(
    "name", ["a\nb", "a\u0000b", "ä", "a" * 100_000], ids=["line", "nul", "umlaut", "long"]
)
async def test_a_name_that_is_no_header_is_an_unknown_model(surface: Surface, name: str) -> None:
    answer = await surface.post("/v1/chat/completions", json.dumps({"model": name, "messages": QUESTION}))
    assert answer.status_code == (400 if len(name) > 256 else 404), answer.text
    assert answer.json()["error"]["param"] == "model"
