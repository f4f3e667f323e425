"""Adapters over real mTLS gRPC: who loads them, who is answered by them, and until when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from parley.inference.v1 import adapter_service_pb2 as pb2
from parley.inference.v1 import completion_pb2, inference_service_pb2, model_pb2, tokens_pb2
from services.inference.adapters.shelf import Shelf
from services.inference.models import ModelState
from services.inference.rollouts.library import RolloutLibrary
from tests.conftest import TokenMaker
from tests.inference.adapters.conftest import taking
from tests.inference.adapters.made import make_adapter, pair
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.rollouts.conftest import ALIAS, creation, library, variant
from tests.inference.scripted import Gate, ScriptedEngine, says
from tests.inference.test_directory import told
from tests.inference.test_servicer import chat, read, reason, refusal
from tests.rpc.test_audit import Sink

SECONDS = 15
PAUSE_SECONDS = 0.05
"""Between two looks; a replica looks once a second."""

POLITE = "scripted:polite"

__all__ = ["library"]  # a fixture


def load(name: str = "polite", base_model: str = "") -> pb2.LoadAdapterRequest:
    return pb2.LoadAdapterRequest(base_model=base_model, adapter=name)


def unload(name: str = "polite") -> pb2.UnloadAdapterRequest:
    return pb2.UnloadAdapterRequest(adapter=name)


async def refused(call: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


async def listed(process: InferenceProcess, operator: Any, **fields: Any) -> dict[str, str]:
    """The adapters and their states."""
    answer = await process.adapters.ListAdapters(pb2.ListAdaptersRequest(**fields), metadata=operator)
    names = pb2.AdapterState.Name
    return {each.adapter: names(each.state).removeprefix("ADAPTER_STATE_") for each in answer.adapters}


async def asked(process: InferenceProcess, metadata: Any, model: str = POLITE) -> Any:
    """The model that answered a chat."""
    events = await read(process.stub.Chat(chat(model=model), metadata=metadata))
    assert reason(events) == "STOP"
    return events[0].started.model


async def test_a_loaded_adapter_is_a_model(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine, shelf=shelf) as process:
        loaded = (await process.adapters.LoadAdapter(load(), metadata=operator)).adapter
        assert (loaded.model, loaded.base_model, loaded.rank) == (POLITE, "scripted", 2)
        models = await process.stub.ListModels(inference_service_pb2.ListModelsRequest(), metadata=operator)
        bases = {model.name: model.base_model for model in models.models}
        assert bases == {"another": "", "scripted": "", POLITE: "scripted"}
        found = await process.stub.GetModel(
            inference_service_pb2.GetModelRequest(name=POLITE), metadata=operator
        )
        assert (found.model.state, found.model.revision) == (model_pb2.MODEL_STATE_READY, loaded.revision)
        assert found.engine_status.slots == engine.slots
        assert await listed(process, operator) == {
            "brief": "AVAILABLE",
            "formal": "AVAILABLE",
            "polite": "READY",
        }


async def test_who_names_it_is_answered_by_it(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine, shelf=shelf) as process:
        loaded = (await process.adapters.LoadAdapter(load(), metadata=operator)).adapter
        assert await asked(process, operator) == POLITE
        assert await asked(process, operator, "scripted") == "scripted"
        text = completion_pb2.CompleteRequest(model=POLITE, text="Once")
        assert reason(await read(process.stub.Complete(text, metadata=operator))) == "STOP"
        counted = tokens_pb2.CountTokensRequest(model=POLITE, text="ab")
        assert (await process.stub.CountTokens(counted, metadata=operator)).token_count == 3
    assert engine.answered_by == [loaded.revision, "", loaded.revision]


async def test_its_own_permission_is_needed(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any, tokens: TokenMaker
) -> None:
    some = tokens.metadata("inference.chat", "inference.models", "models.scripted")
    async with replica(engine, shelf=shelf) as process:
        for call, request in (
            (process.adapters.LoadAdapter, load()),
            (process.adapters.UnloadAdapter, unload()),
            (process.adapters.ListAdapters, pb2.ListAdaptersRequest()),
        ):
            assert (await refused(call(request, metadata=some)))[0] == "PERMISSION_MISSING"
        await process.adapters.LoadAdapter(load(), metadata=operator)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(process.stub.Chat(chat(model=POLITE), metadata=some))
        assert refusal(error.value) == ("PERMISSION_MISSING", {"permission": f"models.{POLITE}"})


async def test_loading_again_takes_only_what_changed(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any, folder: Path
) -> None:
    gate = Gate()
    engine.script([gate, *says("Old.")])
    assert engine.adapter_host is not None
    held = engine.adapter_host.held
    async with replica(engine, shelf=shelf) as process:
        first = (await process.adapters.LoadAdapter(load(), metadata=operator)).adapter
        assert (await process.adapters.LoadAdapter(load(), metadata=operator)).adapter == first
        running = asyncio.ensure_future(read(process.stub.Chat(chat(model=POLITE), metadata=operator)))
        await gate.reached.wait()
        make_adapter(folder / "polite", pair(value=2.0))
        second = (await process.adapters.LoadAdapter(load(), metadata=operator)).adapter
        await asked(process, operator)
        assert len(held) == 2
        gate.open.set()
        assert reason(await running) == "STOP"
        async with asyncio.timeout(SECONDS):
            while len(held) > 1:  # noqa: ASYNC110 - the engine tells nobody
                await asyncio.sleep(0)
    assert engine.answered_by == [first.revision, second.revision]
    assert first.revision != second.revision


async def test_what_runs_is_answered_to_its_end_when_it_is_unloaded(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    gate = Gate()
    engine.script([gate, *says("Goodbye.")])
    async with replica(engine, shelf=shelf) as process:
        await process.adapters.LoadAdapter(load(), metadata=operator)
        running = asyncio.ensure_future(read(process.stub.Chat(chat(model=POLITE), metadata=operator)))
        await gate.reached.wait()
        answer = await process.adapters.UnloadAdapter(unload(), metadata=operator)
        assert answer.running_runs == 1
        assert (await listed(process, operator))["polite"] == "UNLOADING"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(process.stub.Chat(chat(model=POLITE), metadata=operator))
        assert refusal(error.value)[0] == "MODEL_NOT_FOUND"
        gate.open.set()
        assert reason(await running) == "STOP"
        async with asyncio.timeout(SECONDS):
            while (await listed(process, operator))["polite"] != "AVAILABLE":  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(PAUSE_SECONDS)
        again = await process.adapters.UnloadAdapter(unload(), metadata=operator)
        assert again.running_runs == 0
    assert engine.adapter_host is not None
    assert engine.adapter_host.held == {}


async def test_no_more_are_loaded_than_the_engine_holds(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine, shelf=shelf) as process:
        for name in ("polite", "brief"):
            await process.adapters.LoadAdapter(load(name), metadata=operator)
        third = process.adapters.LoadAdapter(load("formal"), metadata=operator)
        assert await refused(third) == ("TOO_MANY_ADAPTERS", {"limit": "2"})
        await process.adapters.UnloadAdapter(unload("brief"), metadata=operator)
        await process.adapters.LoadAdapter(load("formal"), metadata=operator)
        assert await listed(process, operator) == {
            "brief": "AVAILABLE",
            "formal": "READY",
            "polite": "READY",
        }


async def test_what_the_engine_refuses_leaves_nothing(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    assert engine.adapter_host is not None
    engine.adapter_host.refuses = "it needs DoRA"
    async with replica(engine, shelf=shelf) as process:
        call = process.adapters.LoadAdapter(load(), metadata=operator)
        assert await refused(call) == ("ADAPTER_INVALID", {"adapter": "polite"})
        call = process.adapters.LoadAdapter(load("none"), metadata=operator)
        assert await refused(call) == ("ADAPTER_NOT_FOUND", {"adapter": "none"})
        assert (await listed(process, operator))["polite"] == "AVAILABLE"
        assert [served.name for served in process.models.all()] == ["another", "scripted"]


async def test_what_takes_no_adapters_says_so(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine) as without_folder, replica(ScriptedEngine(), shelf=shelf) as of_other_kind:
        for process in (without_folder, of_other_kind):
            call = process.adapters.LoadAdapter(load(), metadata=operator)
            assert await refused(call) == ("ADAPTERS_OFF", {"model": "scripted"})
    async with replica(engine, shelf=shelf) as process, replica(None, shelf=shelf) as loading:
        call = process.adapters.LoadAdapter(load(base_model="another"), metadata=operator)
        assert await refused(call) == ("ADAPTERS_OFF", {"model": "another"})
        call = process.adapters.LoadAdapter(load(base_model="none"), metadata=operator)
        assert (await refused(call))[0] == "MODEL_NOT_FOUND"
        call = loading.adapters.LoadAdapter(load(), metadata=operator)
        assert await refused(call) == ("MODEL_NOT_READY", {"model": "scripted"})


async def test_pages_of_adapters(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine, shelf=shelf) as process:
        first = await process.adapters.ListAdapters(pb2.ListAdaptersRequest(page_size=2), metadata=operator)
        assert (first.max_adapters, first.max_rank) == (2, 16)
        rest = await listed(process, operator, page_size=2, page_token=first.next_page_token)
    assert [each.adapter for each in first.adapters] == ["brief", "formal"]
    assert list(rest) == ["polite"]


async def test_every_replica_has_what_one_was_told(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine, shelf=shelf) as one, replica(other := taking(), shelf=shelf) as two:
        await one.adapters.LoadAdapter(load(), metadata=operator)
        async with two.pool.following(), asyncio.timeout(SECONDS):
            while (await listed(two, operator))["polite"] != "READY":  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(PAUSE_SECONDS)
            assert await asked(two, operator) == POLITE
            await one.adapters.UnloadAdapter(unload(), metadata=operator)
            while (await listed(two, operator))["polite"] != "AVAILABLE":  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(PAUSE_SECONDS)
    assert other.adapter_host is not None
    assert other.adapter_host.held == {}


async def test_a_replica_with_other_files_does_not_answer_by_them(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any, folder: Path
) -> None:
    async with replica(engine, shelf=shelf) as one, replica(taking(), shelf=shelf) as two:
        await one.adapters.LoadAdapter(load(), metadata=operator)
        make_adapter(folder / "polite", pair(value=2.0))
        await two.pool.follow()
        assert (await listed(two, operator))["polite"] == "FAILED"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(two.stub.Chat(chat(model=POLITE), metadata=operator))
        assert refusal(error.value) == ("MODEL_NOT_READY", {"model": POLITE})
        await one.adapters.LoadAdapter(load(), metadata=operator)
        await two.pool.follow()
        assert await asked(two, operator) == POLITE


async def test_a_replica_that_is_about_to_load_it_says_so(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any, store: Redis
) -> None:
    async with replica(engine, shelf=shelf) as one, replica(taking(), shelf=shelf) as two:
        await one.adapters.LoadAdapter(load(), metadata=operator)
        await told(store, one.directory, two.directory)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(two.stub.Chat(chat(model=POLITE), metadata=operator))
        assert refusal(error.value) == ("MODEL_NOT_READY", {"model": POLITE})
        await one.adapters.UnloadAdapter(unload(), metadata=operator)
        await told(store, one.directory, two.directory)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(two.stub.Chat(chat(model=POLITE), metadata=operator))
        assert refusal(error.value)[0] == "MODEL_NOT_FOUND"


async def test_another_engine_is_given_what_the_one_before_had(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    async with replica(engine, shelf=shelf) as process:
        await process.adapters.LoadAdapter(load(), metadata=operator)
        process.models.ready("scripted", another := taking())
        await process.pool.follow()
        await asked(process, operator)
        process.models.failed("scripted")
        await process.pool.follow()
    assert (len(engine.answered_by), len(another.answered_by)) == (0, 1)
    assert process.models.all()[1].state is ModelState.FAILED


async def test_a_variant_may_be_an_adapter(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any, library: RolloutLibrary
) -> None:
    async with replica(engine, shelf=shelf, rollouts=library) as process:
        rollout = creation(variant("polite", 100, model=POLITE))
        call = process.rollouts.CreateRollout(rollout, metadata=operator)
        assert (await refused(call))[0] == "VARIANT_MODEL_UNAVAILABLE"
        await process.adapters.LoadAdapter(load(), metadata=operator)
        await process.rollouts.CreateRollout(rollout, metadata=operator)
        assert await asked(process, operator, ALIAS) == POLITE
    assert engine.answered_by != [""]


async def test_loading_is_audited(
    replica: Replica, shelf: Shelf, engine: ScriptedEngine, operator: Any
) -> None:
    sink = Sink()
    async with replica(engine, shelf=shelf, audit=sink) as process:
        await process.adapters.LoadAdapter(load(), metadata=operator)
        await refused(process.adapters.LoadAdapter(load("none"), metadata=operator))
        await process.adapters.UnloadAdapter(unload(), metadata=operator)
    told = [
        (event.method.rpartition("/")[2], event.reason, event.resources["model"]) for event in sink.events
    ]
    assert told == [
        ("LoadAdapter", "", POLITE),
        ("LoadAdapter", "ADAPTER_NOT_FOUND", "scripted:none"),
        ("UnloadAdapter", "", POLITE),
    ]
