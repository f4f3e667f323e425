"""Cut streams are resumed, here and at another replica, over real mTLS gRPC and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from ulid import ULID

from parley.auth.v1.revocation_service_pb2 import REVOCATION_KIND_KEY
from parley.inference.v1 import chat_pb2, inference_service_pb2
from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta
from services.inference.resumption.tape import EVENT_BYTES, TAPE_BYTES, Bounds
from services.rpc.errors import error_info
from services.rpc.revocations import Revocation, Revocations, Subject
from tests.conftest import TokenMaker
from tests.inference.endless import FixedLimits, terms
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.test_servicer import (
    PERMISSIONS,
    SUM,
    chat,
    kinds,
    read,
    reason,
    refusal,
    wait_until_free,
    with_tools,
)

Events = list[chat_pb2.ChatEvent]


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


def window(seconds: float = 60.0) -> dict[str, Any]:
    made = duration_pb2.Duration()
    made.FromMilliseconds(int(seconds * 1000))
    return {"resume_window": made}


async def cut_after(call: Any, count: int) -> Events:
    """The first events of a stream that is cut then."""
    events = [(await call.read()).event for _ in range(count)]
    call.cancel()
    return events


def run_of(events: Events) -> str:
    return str(events[0].started.run_id)


def resumed(stub: Any, run_id: str, after: int, metadata: Any) -> Any:
    request = inference_service_pb2.ResumeRequest(run_id=run_id, after_sequence=after)
    return stub.Resume(request, metadata=metadata, timeout=30)


async def rest(stub: Any, run_id: str, after: int, metadata: Any) -> Events:
    return await read(resumed(stub, run_id, after, metadata))


async def refused(stub: Any, run_id: str, metadata: Any, after: int = 0) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest(stub, run_id, after, metadata)
    return refusal(caught.value)


@pytest.fixture
async def here(replica: Replica) -> AsyncIterator[InferenceProcess]:
    async with replica(ScriptedEngine()) as process:
        yield process


def engine_of(process: InferenceProcess) -> ScriptedEngine:
    assert isinstance(process.engine, ScriptedEngine)
    return process.engine


@pytest.fixture
async def elsewhere(replica: Replica) -> AsyncIterator[InferenceProcess]:
    async with replica(ScriptedEngine()) as process:
        yield process


async def test_a_cut_at_any_event_is_mended_here_and_elsewhere(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any
) -> None:
    """With reasoning, a tool and text: what was read and what is resumed is the whole, byte by byte."""
    for position in range(1, 13):
        engine_of(here).script(calls(SUM), says("It is ", "391."))
        head = await cut_after(here.stub.Chat(with_tools(**window()), metadata=metadata), position)
        tails = [await rest(each.stub, run_of(head), position, metadata) for each in (elsewhere, here)]
        whole = await rest(elsewhere.stub, run_of(head), 0, metadata)
        assert [event.sequence for event in whole] == list(range(1, 13))
        assert [head + tail for tail in tails] == [whole, whole]
    assert head[0].started.resume_window.seconds == 60
    assert reason(whole) == "STOP"


async def test_a_run_goes_on_at_every_step_while_nobody_reads(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any
) -> None:
    words = [f"word {number} " for number in range(6)]
    for position in range(len(words)):
        gates = [Gate() for _ in words]
        lines = [line for gate, word in zip(gates, words, strict=True) for line in (gate, ContentDelta(word))]
        engine_of(here).script([*lines, *says()])
        for gate in gates[:position]:
            gate.open.set()
        head = await cut_after(here.stub.Chat(chat(**window()), metadata=metadata), 1 + position)
        await gates[position].reached.wait()
        call = resumed(elsewhere.stub, run_of(head), len(head), metadata)
        gates[position].open.set()
        assert (await call.read()).event.content_delta.text == words[position]
        assert engine_of(here).running == 1 if position + 1 < len(words) else True
        for gate in gates:
            gate.open.set()
        tail = await read(call)
        text = "".join(event.content_delta.text for event in [*head, *tail])
        assert text == "".join(words[:position] + words[position + 1 :])
        assert reason(tail) == "STOP"


async def test_several_may_read_a_run_at_once(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any
) -> None:
    gate = Gate()
    engine_of(here).script([ContentDelta("Once "), gate, *says("more.")])
    call = here.stub.Chat(chat(**window()), metadata=metadata)
    first = (await call.read()).event
    readers = [resumed(each.stub, first.started.run_id, 1, metadata) for each in (here, elsewhere, here)]
    texts = [(await reader.read()).event.content_delta.text for reader in readers]
    assert texts == ["Once "] * 3
    gate.open.set()
    whole = await read(call)
    assert [await read(reader) for reader in readers] == [whole[1:]] * 3


async def test_a_window_that_ends_frees_the_engine(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any
) -> None:
    gate = Gate()
    engine_of(here).script([ContentDelta("Once"), gate])
    head = await cut_after(here.stub.Chat(chat(**window(2)), metadata=metadata), 2)
    await gate.reached.wait()
    assert engine_of(here).running == 1
    assert await here.runs.wait_until_empty(20)
    assert engine_of(here).running == 0
    tail = await rest(elsewhere.stub, run_of(head), 2, metadata)
    assert kinds(tail) == ["usage", "finished"]
    assert reason(tail) == "CANCELLED"


async def test_without_a_window_a_cut_cancels(here: InferenceProcess, metadata: Any) -> None:
    gate = Gate()
    engine_of(here).script([gate])
    head = await cut_after(here.stub.Chat(chat(), metadata=metadata), 1)
    assert not head[0].started.HasField("resume_window")
    await wait_until_free(engine_of(here), here.runs)
    assert await refused(here.stub, run_of(head), metadata) == ("RUN_NOT_FOUND", {"run_id": run_of(head)})


async def test_a_client_that_leaves_before_it_was_told_anything_leaves_nothing(
    here: InferenceProcess, metadata: Any
) -> None:
    engine = engine_of(here)
    engine.rendering = Gate()
    call = here.stub.Chat(chat(**window()), metadata=metadata)
    await asyncio.wait_for(asyncio.shield(engine.rendering.reached.wait()), 5)
    call.cancel()
    await wait_until_free(engine, here.runs)


async def test_what_cannot_begin_is_refused_as_ever(here: InferenceProcess, metadata: Any) -> None:
    for fields, expected in (
        ({"model": "nobody"}, "MODEL_NOT_FOUND"),
        ({"model": "another"}, "MODEL_NOT_READY"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(here.stub.Chat(chat(**window(), **fields), metadata=metadata))
        assert refusal(caught.value)[0] == expected
    long = duration_pb2.Duration(seconds=601)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(here.stub.Chat(chat(resume_window=long), metadata=metadata))
    assert refusal(caught.value)[0] == "INVALID_REQUEST"


async def test_only_its_owner_reads_a_run(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any, tokens: TokenMaker
) -> None:
    gate = Gate()
    engine_of(here).script([gate, *says("Mine.")])
    head = await cut_after(here.stub.Chat(chat(**window()), metadata=metadata), 1)
    strangers = [
        tokens.metadata(*PERMISSIONS, user_id="user-2"),
        tokens.metadata(*PERMISSIONS, tenant_id="tenant-2"),
    ]

    async def denied() -> None:
        for stranger in strangers:
            for each in (here, elsewhere):
                assert (await refused(each.stub, run_of(head), stranger))[0] == "RUN_NOT_FOUND"

    await denied()
    gate.open.set()
    assert reason(await rest(elsewhere.stub, run_of(head), 1, metadata)) == "STOP"
    await denied()
    few = tokens.metadata("inference.models")
    assert (await refused(here.stub, run_of(head), few))[0] == "PERMISSION_MISSING"
    unknown = str(ULID())
    assert await refused(here.stub, unknown, metadata) == ("RUN_NOT_FOUND", {"run_id": unknown})


async def test_a_run_that_nobody_reads_is_cancelled_from_anywhere(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any
) -> None:
    engine_of(here).script([Gate()])
    head = await cut_after(here.stub.Chat(chat(**window()), metadata=metadata), 1)
    cancel = inference_service_pb2.CancelRequest(run_id=run_of(head))
    await elsewhere.stub.Cancel(cancel, metadata=metadata)
    assert reason(await rest(here.stub, run_of(head), 1, metadata)) == "CANCELLED"
    assert engine_of(here).running == 0


async def test_the_calls_deadline_is_not_the_runs(here: InferenceProcess, metadata: Any) -> None:
    gate = Gate()
    engine_of(here).script([gate, *says("Late.")])
    call = here.stub.Chat(chat(**window()), metadata=metadata, timeout=0.5)
    run_id = (await call.read()).event.started.run_id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gate.open.set()
    assert reason(await rest(here.stub, run_id, 1, metadata)) == "STOP"


async def test_its_own_time_limit_is(here: InferenceProcess, metadata: Any) -> None:
    engine_of(here).script([Gate()])
    limits = chat_pb2.RunLimits(max_duration=duration_pb2.Duration(nanos=200_000_000))
    head = await cut_after(here.stub.Chat(chat(limits=limits, **window()), metadata=metadata), 1)
    assert reason(await rest(here.stub, run_of(head), 1, metadata)) == "TIME_LIMIT"


async def test_a_revoked_key_ends_a_run_that_nobody_reads(
    replica: Replica, metadata: Any, tokens: TokenMaker
) -> None:
    """Also when its token was over before."""
    revocations, engine = Revocations(synchronized=True), ScriptedEngine([ContentDelta("Once"), Gate()])
    async with replica(engine, revocations=revocations) as process:
        with_key = tokens.metadata(*PERMISSIONS, key_id="key-1")
        head = await cut_after(process.stub.Chat(chat(**window()), metadata=with_key), 2)
        now = datetime.now(UTC)
        revocations.add(Revocation(Subject(REVOCATION_KIND_KEY, "key-1"), now, now + timedelta(hours=1)))
        await wait_until_free(engine, process.runs)
        assert reason(await rest(process.stub, run_of(head), 2, metadata)) == "REVOKED"
        assert (await refused(process.stub, run_of(head), with_key))[0] == "TOKEN_REVOKED"


async def test_a_budget_ends_a_run_that_nobody_reads(replica: Replica, metadata: Any, store: Any) -> None:
    gate = Gate()
    await store.set("parley:{ledger}:ready", "1")
    limits = FixedLimits(terms(f"user/{ULID()}", tokens_per_day=10 + 5))
    engine = ScriptedEngine([ContentDelta("Once "), gate, *(ContentDelta("more ") for _ in range(50))])
    async with replica(engine, limits) as process:
        head = await cut_after(process.stub.Chat(chat(**window()), metadata=metadata), 2)
        gate.open.set()
        tail = await rest(process.stub, run_of(head), 2, metadata)
    assert reason(tail) == "BUDGET"
    assert tail[-2].usage.completion_tokens == 5


async def test_beyond_its_bounds_the_beginning_goes(
    replica: Replica, elsewhere: InferenceProcess, metadata: Any
) -> None:
    words = [f"word {number}" for number in range(200)]
    bounds = Bounds(run_bytes=20 * (EVENT_BYTES + 20), grace_seconds=1)
    gate = Gate()
    async with replica(ScriptedEngine([gate, *says(*words)]), bounds=bounds) as process:
        head = await cut_after(process.stub.Chat(chat(**window()), metadata=metadata), 1)
        gate.open.set()
        await wait_until_free(engine_of(process), process.runs)
        for each in (process, elsewhere):
            gone, about = await refused(each.stub, run_of(head), metadata, after=1)
            assert (gone, about["run_id"]) == ("EVENTS_GONE", run_of(head))
            first = int(about["first_sequence"])
            assert 150 < first < 203
            tail = await rest(each.stub, run_of(head), first - 1, metadata)
            assert [event.sequence for event in tail] == list(range(first, 204))
            assert (await refused(each.stub, run_of(head), metadata, after=first - 2))[0] == "EVENTS_GONE"


async def test_a_reader_that_is_too_slow_is_cut_and_holds_up_nobody(replica: Replica, metadata: Any) -> None:
    text = "x" * 100_000
    gate = Gate()
    engine = ScriptedEngine([gate, *[ContentDelta(text)] * 100, *says("Done.")])
    async with replica(engine, bounds=Bounds(run_bytes=10 * len(text), grace_seconds=1)) as process:
        call = process.stub.Chat(chat(**window()), metadata=metadata)
        run_id = (await call.read()).event.started.run_id
        gate.open.set()
        await wait_until_free(engine, process.runs)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(call)
        assert refusal(caught.value)[0] == "EVENTS_GONE"
        first = int(refusal(caught.value)[1]["first_sequence"])
        assert reason(await rest(process.stub, run_id, first, metadata)) == "STOP"


async def test_where_no_more_is_kept_a_cut_cancels_and_the_client_is_told(
    replica: Replica, metadata: Any
) -> None:
    engine = ScriptedEngine([Gate()], [Gate()])
    async with replica(engine, bounds=Bounds(total_bytes=2 * TAPE_BYTES, grace_seconds=0.1)) as process:
        await cut_after(process.stub.Chat(chat(**window()), metadata=metadata), 1)
        head = await cut_after(process.stub.Chat(chat(**window()), metadata=metadata), 1)
        await told_and_cancelled(process, head, "RESUME_FULL", runs_left=1)


async def test_without_the_store_a_cut_cancels_and_the_client_is_told(
    replica: Replica, metadata: Any
) -> None:
    async with replica(ScriptedEngine([Gate()]), journal_url="redis://127.0.0.1:1/0") as process:
        head = await cut_after(process.stub.Chat(chat(**window()), metadata=metadata), 1)
        await told_and_cancelled(process, head, "DEPENDENCY_UNAVAILABLE", runs_left=0)


async def told_and_cancelled(process: InferenceProcess, head: Events, why: str, runs_left: int) -> None:
    info = error_info(head[0].started.resume_error)
    assert info is not None
    assert info.reason == why
    assert not head[0].started.HasField("resume_window")
    async with asyncio.timeout(5):
        while len(process.runs) > runs_left:  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0)


async def test_a_replica_that_stops_lets_runs_end_and_ends_the_others(
    replica: Replica, elsewhere: InferenceProcess, metadata: Any
) -> None:
    gates = Gate(), Gate()
    engine = ScriptedEngine([gates[0], *says("In time.")], [gates[1]])
    async with replica(engine) as process:
        heads = [await cut_after(process.stub.Chat(chat(**window()), metadata=metadata), 1) for _ in gates]
        await gates[1].reached.wait()
        stopping = asyncio.create_task(process.server.stop())
        await process.server.stopping.wait()
        gates[0].open.set()
        await stopping
    ends = [await rest(elsewhere.stub, run_of(head), 1, metadata) for head in heads]
    assert [reason(end) for end in ends] == ["STOP", "ERROR"]
    assert ends[0][0].content_delta.text == "In time."
    info = error_info(ends[1][-1].finished.error)
    assert info is not None
    assert info.reason == "DRAINING"


async def test_waiting_calls_are_answered_while_the_stream_is_cut(
    here: InferenceProcess, elsewhere: InferenceProcess, metadata: Any
) -> None:
    """A tool that runs while nobody reads; its result is resumed."""
    engine_of(here).script(calls(ToolCall("call-1", "calculator", "{}")), says("Done."))
    head = await cut_after(here.stub.Chat(with_tools(**window()), metadata=metadata), 1)
    tail = await rest(elsewhere.stub, run_of(head), 1, metadata)
    assert "tool_result" in kinds(tail)
    assert reason(tail) == "STOP"
