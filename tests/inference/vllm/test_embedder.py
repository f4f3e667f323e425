"""The real vLLM embeds, with a pooling model whose vectors are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from services.inference.engine.embedder import Embedder, Form
from services.inference.errors import ContextOverflow, DimensionsNotOffered
from services.inference.settings import EngineSettings
from tests.inference.tiny_embedder import make
from tests.inference.tiny_model import CONTEXT_LENGTH
from tests.inference.vllm.asked import REAL_ENGINE
from tests.unmeasured import unmeasured

pytestmark = [pytest.mark.timeout(600), *REAL_ENGINE]
"""It starts faster, and the first of two bounds is the one that holds."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("embedder"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(model: Path) -> AsyncIterator[Embedder]:
    from services.inference.vllm.embedder import load_model

    settings = EngineSettings(model=str(model), name="tiny", kv_cache_bytes=64 * 2**20)
    with unmeasured():
        loaded = await asyncio.to_thread(load_model, settings)
    assert isinstance(loaded, Embedder)
    yield loaded
    await loaded.close()


def token_of(model: Path, text: str) -> int:
    """The last token of a text."""
    from transformers import AutoTokenizer

    return int(AutoTokenizer.from_pretrained(model).encode(text)[-1])


def points_at(vector: Sequence[float]) -> int:
    return max(range(len(vector)), key=lambda at: vector[at])


async def vector(embedder: Embedder, text: str, request_id: str, form: Form | None = None) -> Sequence[float]:
    return await embedder.embed(await embedder.read(text, cut=False), form or Form(), request_id)


async def test_it_is_loaded_as_what_it_is(embedder: Embedder) -> None:
    card = embedder.card
    assert (card.name, card.context_length) == ("tiny", CONTEXT_LENGTH)
    assert card.supports_embeddings


async def test_vectors_are_the_texts_own_whatever_runs_beside(embedder: Embedder, model: Path) -> None:
    texts = ("abc", "one two", "xyz")
    vectors = await asyncio.gather(*(vector(embedder, text, f"own-{text}") for text in texts))
    assert [points_at(each) for each in vectors] == [token_of(model, text) for text in texts]
    assert [sum(value * value for value in each) for each in vectors] == pytest.approx([1, 1, 1], abs=0.01)
    assert {len(each) for each in vectors} == {embedder.card.embedding_dimensions}
    assert embedder.running == 0


async def test_size_and_scale_are_the_callers(embedder: Embedder) -> None:
    short = await vector(embedder, "abc", "short", Form(dimensions=100))
    raw = await vector(embedder, "abc", "raw", Form(normalize=False))
    assert len(short) == 100
    assert sum(value * value for value in raw) > 2
    with pytest.raises(DimensionsNotOffered):
        await vector(embedder, "abc", "beyond", Form(dimensions=embedder.card.embedding_dimensions + 1))


@pytest.mark.parametrize("length", [CONTEXT_LENGTH + 1, 10**6])
async def test_what_does_not_fit_is_refused_or_cut(embedder: Embedder, length: int) -> None:
    whole = await embedder.read("a" * CONTEXT_LENGTH, cut=False)
    assert (whole.tokens, whole.truncated) == (CONTEXT_LENGTH, False)
    with pytest.raises(ContextOverflow) as refused:
        await embedder.read("a" * length, cut=False)
    assert int(refused.value.metadata["prompt_tokens"]) > CONTEXT_LENGTH
    assert refused.value.metadata["context_length"] == str(CONTEXT_LENGTH)
    cut = await embedder.read("a" * length, cut=True)
    assert (cut.tokens, cut.truncated) == (CONTEXT_LENGTH, True)
    assert len(await embedder.embed(cut, Form(), f"cut-{length}")) == embedder.card.embedding_dimensions


async def test_tokens_are_embedded_as_the_text_that_they_are_of(embedder: Embedder, model: Path) -> None:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model).encode("one two")
    assert embedder.card.vocabulary_size > max(ids)
    told = await embedder.embed(embedder.read_tokens(ids, cut=False), Form(), "tokens")
    assert told == pytest.approx(await vector(embedder, "one two", "text"), abs=0.01)
    with pytest.raises(ContextOverflow):
        embedder.read_tokens([1] * (CONTEXT_LENGTH + 1), cut=False)
    cut = embedder.read_tokens([1] * (CONTEXT_LENGTH + 1), cut=True)
    assert (cut.tokens, cut.truncated) == (CONTEXT_LENGTH, True)


async def test_cancelling_frees_the_slot(embedder: Embedder) -> None:
    text = await embedder.read("a" * CONTEXT_LENGTH, cut=False)
    tasks = [asyncio.create_task(embedder.embed(text, Form(), f"cancelled-{at}")) for at in range(16)]
    async with asyncio.timeout(30):
        while not embedder.running:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(end, asyncio.CancelledError) for end in ends)
    assert embedder.running == 0
