"""The models of all pools, by a real store."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from parley.inference.v1 import inference_service_pb2, model_pb2
from services.inference.errors import ModelNotFound
from services.inference.images.image import ImageLimits
from services.inference.models import Models, ServedModel
from services.inference.replicas.directory import HASH, REPLICAS_HASH, ModelDirectory
from services.inference.replicas.noticeboard import LIFE_SECONDS, MOST_ENTRY_BYTES
from services.inference.translation import models as translate_models
from services.rpc.errors import PermissionMissing
from services.rpc.principal import Principal
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import CARD, ScriptedEngine
from tests.inference.test_servicer import chat, read, refusal

SECONDS = 15


@pytest.fixture
async def shared(store: Redis) -> Redis:
    """The store, with no model in it."""
    await store.delete(HASH, REPLICAS_HASH)
    return store


@pytest.fixture
def anyone(tokens: TokenMaker) -> Principal:
    return tokens.principal("models.*")


def pool(*names: str, ready: bool = True) -> ModelDirectory:
    """The directory of a replica that serves these."""
    models = Models(*names)
    if ready:
        for name in names:
            models.ready(name, ScriptedEngine())
    return ModelDirectory(models)


def names(directory: ModelDirectory, caller: Principal) -> list[str]:
    return [model.name for model in directory.permitted(caller)]


async def told(store: Redis, *directories: ModelDirectory) -> None:
    """All tell, then all learn."""
    for directory in 2 * directories:
        await directory.exchange(store)


async def test_every_pool_knows_the_models_of_all(shared: Redis, anyone: Principal) -> None:
    small, large = pool("small"), pool("large")
    await told(shared, small, large)
    assert names(small, anyone) == names(large, anyone) == ["large", "small"]
    found = small.find("large", anyone)
    assert (found.state, found.context_length) == (model_pb2.MODEL_STATE_READY, CARD.context_length)


async def test_the_default_is_the_own_pools(shared: Redis, anyone: Principal) -> None:
    small, large = pool("small"), pool("large")
    await told(shared, small, large)
    assert {model.name for model in small.permitted(anyone) if model.is_default} == {"small"}


async def test_a_caller_sees_what_it_may_use(shared: Redis, tokens: TokenMaker) -> None:
    small, large = pool("small"), pool("large")
    await told(shared, small, large)
    some = tokens.principal("models.small")
    assert names(large, some) == ["small"]
    with pytest.raises(PermissionMissing):
        small.find("large", some)


async def test_of_a_models_replicas_the_best_is_shown(shared: Redis, anyone: Principal) -> None:
    here, loading, ready = pool("here"), pool("there", ready=False), pool("there")
    await told(shared, ready, loading, here)
    assert here.find("there", anyone).state == model_pb2.MODEL_STATE_READY
    await told(shared, loading, ready, here)
    assert here.find("there", anyone).state == model_pb2.MODEL_STATE_READY


async def test_all_replicas_of_a_model_tell_how_their_engines_are_doing(shared: Redis) -> None:
    here, there, loading, other = pool("m"), pool("m"), pool("m", ready=False), pool("x")
    await told(shared, here, there, loading, other)
    for directory in (here, there, loading, other):
        replicas = directory.replicas("m")
        assert [each.HasField("engine_status") for each in replicas].count(True) == 2
        assert len({each.replica_id for each in replicas}) == 3
        assert {each.engine_status.slots for each in replicas} == {0, 64}
    assert here.replicas("y") == []
    await shared.hset(REPLICAS_HASH, "stranger/m", struct.pack(">d", (await shared.time())[0] + 9) + b"\xff")
    await here.exchange(shared)
    assert len(here.replicas("m")) == 3


async def test_a_replica_without_the_store_tells_of_itself() -> None:
    (status,) = pool("m").replicas("m")
    assert (status.state, status.engine_status.kv_cache_use) == (model_pb2.MODEL_STATE_READY, 0.25)


async def test_who_leaves_is_forgotten(shared: Redis, anyone: Principal) -> None:
    here, there = pool("here"), pool("there")
    async with there.keeping(shared), asyncio.timeout(SECONDS):
        while "there" not in names(here, anyone):
            await here.exchange(shared)
    await here.exchange(shared)
    assert names(here, anyone) == ["here"]
    assert here.replicas("there") == []


async def test_who_is_silent_is_forgotten_by_the_stores_clock(shared: Redis, anyone: Principal) -> None:
    here, there = pool("here"), pool("there")
    await there.exchange(shared)
    ((field, entry),) = (await shared.hgetall(HASH)).items()
    seconds, _ = await shared.time()
    await shared.hset(HASH, field, struct.pack(">d", seconds - 1) + entry[8:])
    await here.exchange(shared)
    assert names(here, anyone) == ["here"]
    assert not await shared.hexists(HASH, field)


@pytest.mark.parametrize(
    "entry",
    [
        lambda _now: b"",
        lambda _now: b"short",
        lambda now: struct.pack(">d", now + LIFE_SECONDS) + b"\xff\xff",
        lambda now: struct.pack(">d", now + LIFE_SECONDS) + bytes(MOST_ENTRY_BYTES),
        lambda now: struct.pack(">d", now + 1e9) + model_pb2.Model(name="x", state=2).SerializeToString(),
        lambda now: struct.pack(">d", now + LIFE_SECONDS) + model_pb2.Model(state=2).SerializeToString(),
        lambda now: struct.pack(">d", now + LIFE_SECONDS) + model_pb2.Model(name="x").SerializeToString(),
    ],
    ids=["empty", "short", "no model", "too long", "for ever", "without a name", "without a state"],
)
async def test_what_is_no_entry_is_passed_over(shared: Redis, anyone: Principal, entry: Any) -> None:
    seconds, _ = await shared.time()
    await shared.hset(HASH, "stranger/x", entry(seconds))
    here = pool("here")
    await here.exchange(shared)
    assert names(here, anyone) == ["here"]


async def test_without_the_store_the_own_models_are_known(anyone: Principal) -> None:
    nowhere: Redis = Redis(host="127.0.0.1", port=1)
    here = pool("here")
    async with here.keeping(nowhere):
        assert names(here, anyone) == ["here"]
        with pytest.raises(ModelNotFound):
            here.find("there", anyone)
    await nowhere.aclose()


async def test_a_call_that_went_to_the_wrong_pool_is_told_how_to_reach_the_right_one(
    replica: Replica, shared: Redis, tokens: TokenMaker
) -> None:
    metadata = tokens.metadata("*")
    async with replica(ScriptedEngine()) as process:
        await told(shared, pool("large"), process.directory)
        listed = await process.stub.ListModels(inference_service_pb2.ListModelsRequest(), metadata=metadata)
        request = inference_service_pb2.GetModelRequest(name="large")
        given = await process.stub.GetModel(request, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(chat(model="large"), metadata=metadata))
    assert [model.name for model in listed.models] == ["another", "large", "scripted"]
    assert given.model.name == "large"
    assert [replica.state for replica in given.replicas] == [model_pb2.MODEL_STATE_READY]
    assert not given.HasField("engine_status")
    assert refusal(refused.value)[0] == "MODEL_NOT_FOUND"
    assert "parley-model" in str(refused.value.details())


def test_an_alias_takes_the_images_that_all_of_its_models_take() -> None:
    wide = ImageLimits(count=8, file_bytes=5000, pixels=9000, media_types=("image/png", "image/webp"))
    near = ImageLimits(count=9, file_bytes=4000, pixels=8000, media_types=("image/gif", "image/png"))
    models = []
    for number, limits in enumerate((wide, near, None)):
        served = ServedModel(str(number), False, ScriptedEngine(card=replace(CARD, image_limits=limits)))
        models.append(translate_models.model(served))
    both = translate_models.alias("a", models[:2])
    assert both.image_limits == model_pb2.ImageLimits(
        max_images=8, max_bytes=4000, max_pixels=8000, media_types=["image/png"]
    )
    assert not translate_models.alias("a", models).HasField("image_limits")
