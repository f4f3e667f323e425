"""`Embed` over real mTLS gRPC, with a scripted embedder and the real ledger."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from ulid import ULID

from parley.auth.v1 import usage_pb2
from parley.inference.v1 import embed_pb2, inference_service_pb2
from services.inference.engine.embedder import Form
from services.inference.engine.port import Engine
from services.inference.errors import EngineFailed
from services.inference.lifecycle import ModelLife
from services.inference.models import Models
from services.inference.runs.registry import RunRegistry
from services.ledger.ledger import USAGE, Ledger
from services.ledger.limits import Dimension
from tests.conftest import TokenMaker
from tests.inference.endless import FixedLimits, terms
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine
from tests.inference.scripted_embedder import (
    CONTEXT_LENGTH,
    DIMENSIONS,
    VOCABULARY_SIZE,
    ScriptedEmbedder,
)
from tests.inference.test_servicer import chat, read, refusal

PERMISSIONS = ("inference.embed", "inference.chat", "inference.models", "models.*")


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


def order(*texts: str, **fields: Any) -> embed_pb2.EmbedRequest:
    return embed_pb2.EmbedRequest(texts=texts, **fields)


def of_tokens(*lists: list[int], **fields: Any) -> embed_pb2.EmbedRequest:
    return embed_pb2.EmbedRequest(tokens=[{"ids": ids} for ids in lists], **fields)


async def refused(call: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


async def test_each_text_gets_its_vector_in_order(replica: Replica, metadata: Any) -> None:
    embedder = ScriptedEmbedder()
    async with replica(embedder) as process:
        answer = await process.stub.Embed(order("one two", "three"), metadata=metadata)
    assert [list(each.values) for each in answer.embeddings] == [[3, 3, 0, 0], [5, 0, 0, 0]]
    assert [each.tokens for each in answer.embeddings] == [2, 1]
    assert (answer.model, answer.prompt_tokens, answer.dimensions) == ("scripted", 3, DIMENSIONS)
    assert answer.normalized
    assert embedder.forms == [Form(), Form()]


async def test_size_and_scale_are_the_callers(replica: Replica, metadata: Any) -> None:
    embedder = ScriptedEmbedder()
    async with replica(embedder) as process:
        answer = await process.stub.Embed(order("one", dimensions=2, normalize=False), metadata=metadata)
        too_many = await refused(process.stub.Embed(order("one", dimensions=5), metadata=metadata))
    assert embedder.forms[0] == Form(2, normalize=False)
    assert (answer.dimensions, answer.normalized) == (2, False)
    assert too_many == ("DIMENSIONS_NOT_OFFERED", {"model": "scripted", "dimensions": "5"})


async def test_a_long_text_is_refused_with_both_numbers_or_cut(replica: Replica, metadata: Any) -> None:
    long = "word " * 9
    async with replica(ScriptedEmbedder()) as process:
        overflow = await refused(process.stub.Embed(order("short", long), metadata=metadata))
        request = order("short", long, truncation=embed_pb2.EMBED_TRUNCATION_CUT_END)
        answer = await process.stub.Embed(request, metadata=metadata)
    numbers = {"prompt_tokens": "9", "max_output_tokens": "0", "context_length": str(CONTEXT_LENGTH)}
    assert overflow == ("CONTEXT_OVERFLOW", numbers)
    assert [(each.tokens, each.truncated) for each in answer.embeddings] == [(1, False), (8, True)]


@pytest.mark.parametrize(
    "request_fields",
    [
        {"texts": []},
        {"texts": ["x"], "tokens": [{"ids": [1]}]},
        {"tokens": [{"ids": [1]}, {}]},
        {"tokens": [{"ids": [1]}] * 2049},
        {"texts": [""]},
        {"texts": ["x"] * 2049},
        {"texts": ["x"], "dimensions": 0},
        {"texts": ["x"], "dimensions": 65537},
        {"texts": ["x"], "truncation": 9},
        {"texts": ["x"], "model": "no such name"},
    ],
    ids=[
        "no text",
        "both",
        "no token",
        "2049 lists",
        "empty text",
        "2049 texts",
        "no dimension",
        "too many dimensions",
        "truncation",
        "model",
    ],
)
async def test_what_breaks_the_rules_is_refused(
    replica: Replica, metadata: Any, request_fields: dict[str, Any]
) -> None:
    async with replica(ScriptedEmbedder()) as process:
        request = embed_pb2.EmbedRequest(**request_fields)
        reason, _ = await refused(process.stub.Embed(request, metadata=metadata))
    assert reason == "INVALID_REQUEST"


async def test_tokens_are_embedded_as_they_are(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEmbedder()) as process:
        answer = await process.stub.Embed(of_tokens([3, 5], [7]), metadata=metadata)
        overflow = await refused(process.stub.Embed(of_tokens([1], [1] * 9), metadata=metadata))
        unknown = await refused(process.stub.Embed(of_tokens([1], [2, VOCABULARY_SIZE]), metadata=metadata))
        request = of_tokens([1] * 9, truncation=embed_pb2.EMBED_TRUNCATION_CUT_END)
        [cut] = (await process.stub.Embed(request, metadata=metadata)).embeddings
    assert [list(each.values) for each in answer.embeddings] == [[3, 5, 0, 0], [7, 0, 0, 0]]
    assert answer.prompt_tokens == 3
    assert overflow[0] == "CONTEXT_OVERFLOW"
    token = str(VOCABULARY_SIZE)
    told = {"field": "tokens.ids", "token_id": token, "vocabulary_size": token}
    assert unknown == ("TOKEN_UNKNOWN", told)
    assert (cut.tokens, cut.truncated) == (CONTEXT_LENGTH, True)


async def test_2048_texts_are_one_call(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEmbedder()) as process:
        answer = await process.stub.Embed(order(*["x"] * 2048), metadata=metadata)
    assert (len(answer.embeddings), answer.prompt_tokens) == (2048, 2048)


async def test_each_model_does_only_what_it_is_for(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEmbedder()) as process:
        chatted = await refused(read(process.stub.Chat(chat(), metadata=metadata)))
        (_, card) = (
            await process.stub.ListModels(inference_service_pb2.ListModelsRequest(), metadata=metadata)
        ).models
    async with replica(ScriptedEngine()) as process:
        embedded = await refused(process.stub.Embed(order("x"), metadata=metadata))
    assert chatted == ("MODEL_OF_OTHER_KIND", {"model": "scripted", "kind": "embeddings"})
    assert embedded == ("MODEL_OF_OTHER_KIND", {"model": "scripted", "kind": "chat"})
    assert (card.supports_embeddings, card.embedding_dimensions) == (True, DIMENSIONS)
    assert card.context_length == CONTEXT_LENGTH


async def test_unknown_models_and_callers_without_the_permission(
    replica: Replica, metadata: Any, tokens: TokenMaker
) -> None:
    chats_only = tokens.metadata("inference.chat", "models.*")
    other_models = tokens.metadata("inference.embed", "models.another")
    async with replica(ScriptedEmbedder()) as process:
        unknown = await refused(process.stub.Embed(order("x", model="nobody"), metadata=metadata))
        loading = await refused(process.stub.Embed(order("x", model="another"), metadata=metadata))
        method = await refused(process.stub.Embed(order("x"), metadata=chats_only))
        model = await refused(process.stub.Embed(order("x"), metadata=other_models))
    assert unknown == ("MODEL_NOT_FOUND", {"model": "nobody", "available": "another,scripted"})
    assert loading[0] == "MODEL_NOT_READY"
    assert method == ("PERMISSION_MISSING", {"permission": "inference.embed"})
    assert model == ("PERMISSION_MISSING", {"permission": "models.scripted"})


async def test_a_client_that_leaves_frees_every_slot(replica: Replica, metadata: Any) -> None:
    gates = {"a": Gate(), "b": Gate()}
    embedder = ScriptedEmbedder(waits=gates)
    async with replica(embedder) as process:
        call = process.stub.Embed(order("a", "b"), metadata=metadata)
        for gate in gates.values():
            await asyncio.wait_for(gate.reached.wait(), 5)
        assert embedder.running == 2
        call.cancel()
        async with asyncio.timeout(5):
            while embedder.running:  # noqa: ASYNC110 - nobody else is told
                await asyncio.sleep(0)


async def test_a_failure_frees_the_other_slots(replica: Replica, metadata: Any) -> None:
    embedder = ScriptedEmbedder(waits={"a": Gate()}, fails={"b": EngineFailed("scripted")})
    async with replica(embedder) as process:
        reason, _ = await refused(process.stub.Embed(order("a", "b"), metadata=metadata))
        assert embedder.running == 0
    assert reason == "ENGINE_FAILED"


@pytest.fixture
async def ledger(store: Redis) -> Ledger:
    ledger = Ledger(store)
    await ledger.mark_ready()
    return ledger


async def left(ledger: Ledger, account: str, budget: int) -> int:
    standings = await ledger.standings(terms(account, tokens_per_day=budget))
    return next(each.left for each in standings if each.dimension is Dimension.TOKENS_PER_DAY)


async def test_texts_are_paid_for_and_a_budget_holds(
    replica: Replica, ledger: Ledger, store: Redis, metadata: Any
) -> None:
    account = f"user/{ULID()}"
    async with replica(ScriptedEmbedder(), FixedLimits(terms(account, tokens_per_day=5))) as process:
        await process.stub.Embed(order("one two", "three"), metadata=metadata)
        assert await left(ledger, account, 5) == 2
        reason, _ = await refused(process.stub.Embed(order("one two three"), metadata=metadata))
        assert await left(ledger, account, 5) == 2
    assert reason == "BUDGET_EXHAUSTED"
    ((_, last),) = await store.xrevrange(USAGE, count=1)
    record = usage_pb2.UsageRecord.FromString(last[b"record"])
    assert (record.prompt_tokens, record.completion_tokens, record.requests) == (3, 0, 1)


async def test_what_the_engine_failed_to_embed_costs_nothing(
    replica: Replica, ledger: Ledger, metadata: Any
) -> None:
    account = f"user/{ULID()}"
    embedder = ScriptedEmbedder(fails={"one two": EngineFailed("scripted")})
    async with replica(embedder, FixedLimits(terms(account, tokens_per_day=5))) as process:
        await refused(process.stub.Embed(order("one two"), metadata=metadata))
        assert await left(ledger, account, 5) == 5


async def test_a_pooling_model_warms_up_by_embedding() -> None:
    models, caller = Models("m"), TokenMaker().principal("models.*")
    embedder = ScriptedEmbedder()
    served = asyncio.Event()

    async def load() -> Engine | ScriptedEmbedder:
        return embedder

    async def set_serving(serving: bool) -> None:
        assert serving
        served.set()

    living = asyncio.create_task(ModelLife("m", load, models, RunRegistry(), set_serving).run(5))
    await asyncio.wait_for(served.wait(), 5)
    assert models.embedder("", caller) is embedder
    assert embedder.forms == [Form()]
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    assert embedder.closed
