"""Chats that wait for a slot of the engine, over real gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from parley.inference.v1 import inference_service_pb2
from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta
from services.inference.seating.seats import Seats
from services.rpc.errors import status_of
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.test_generation import two_choices
from tests.inference.test_servicer import PERMISSIONS, chat, kinds, read, refusal, with_tools


@pytest.fixture
def ada(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


@pytest.fixture
def bob(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS, user_id="user-2")


async def until(seats: Seats, taken: int, waiting: int) -> None:
    """Wait until so many sit and wait."""
    async with asyncio.timeout(10):
        while (seats.taken, seats.waiting) != (taken, waiting):  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0.01)


async def test_a_chat_waits_for_its_slot_and_others_go_first(replica: Replica, ada: Any, bob: Any) -> None:
    gate, seats = Gate(), Seats(1, max_waiting=10)
    engine = ScriptedEngine([gate, *says("first")], *(says(str(number)) for number in range(2, 5)))
    async with replica(engine, seats=seats) as process:
        ahead = process.stub.Chat(chat(), metadata=ada)
        await until(seats, 1, 0)
        same = process.stub.Chat(chat(), metadata=ada)
        await until(seats, 1, 1)
        other = process.stub.Chat(chat(), metadata=bob)
        await until(seats, 1, 2)
        asked = inference_service_pb2.GetModelRequest(name="scripted")
        status = (await process.stub.GetModel(asked, metadata=ada)).engine_status
        assert (status.running_requests, status.waiting_requests) == (1, 2)
        gate.open.set()
        answers = await asyncio.gather(*map(read, (ahead, same, other)))
        await until(seats, 0, 0)
    assert [kinds(events)[-1] for events in answers] == ["finished"] * 3
    assert engine.running == 0


async def test_each_choice_of_a_chat_takes_a_seat(replica: Replica, ada: Any) -> None:
    gate, seats = Gate(), Seats(4, max_waiting=0)
    async with replica(ScriptedEngine([gate, *two_choices()]), seats=seats) as process:
        ahead = process.stub.Chat(chat(sampling={"choice_count": 2, "temperature": 1}), metadata=ada)
        await until(seats, 2, 0)
        gate.open.set()
        await read(ahead)
        await until(seats, 0, 0)


async def test_a_client_that_leaves_the_queue_is_not_generated_for(replica: Replica, ada: Any) -> None:
    gate, seats = Gate(), Seats(1, max_waiting=10)
    engine = ScriptedEngine([gate, *says("first")])
    async with replica(engine, seats=seats) as process:
        ahead = process.stub.Chat(chat(), metadata=ada)
        await until(seats, 1, 0)
        behind = process.stub.Chat(chat(), metadata=ada)
        await until(seats, 1, 1)
        behind.cancel()
        await until(seats, 1, 0)
        gate.open.set()
        await read(ahead)
    assert len(engine.request_ids) == 1


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(replica: Replica, ada: Any) -> None:
    gate, seats = Gate(), Seats(1, max_waiting=0)
    async with replica(ScriptedEngine([gate, *says("first")]), seats=seats) as process:
        ahead = process.stub.Chat(chat(), metadata=ada)
        await until(seats, 1, 0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(chat(), metadata=ada))
        gate.open.set()
        await read(ahead)
    assert (caught.value.code(), refusal(caught.value)[0]) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "OVERLOADED",
    )
    assert any(each.Is(RetryInfo.DESCRIPTOR) for each in status_of(caught.value).details)


async def test_a_request_that_cannot_meet_its_deadline_is_refused_at_once(replica: Replica, ada: Any) -> None:
    times = iter([0.0, 0.0, 3600.0])
    gate, seats = Gate(), Seats(1, max_waiting=10, clock=lambda: next(times, 3600.0))
    engine = ScriptedEngine(says("long ago"), [ContentDelta("now"), gate, *says(".")])
    async with replica(engine, seats=seats) as process:
        await read(process.stub.Chat(chat(), metadata=ada))  # an hour, by the seats' clock
        ahead = process.stub.Chat(chat(), metadata=ada)
        await until(seats, 1, 0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(chat(), metadata=ada, timeout=30))
        gate.open.set()
        await read(ahead)
    assert refusal(caught.value)[0] == "OVERLOADED"


async def test_a_run_whose_tools_run_holds_no_seat(
    replica: Replica, ada: Any, bob: Any, tools_process: ToolsProcess
) -> None:
    seats = Seats(1, max_waiting=0)
    engine = ScriptedEngine(calls(ToolCall("c1", "slow", "{}")), says("Meanwhile."))
    async with replica(engine, seats=seats) as process:
        waiting = process.stub.Chat(with_tools(), metadata=ada)
        await waiting.read()
        async with asyncio.timeout(10):
            await tools_process.service.started.wait()
        assert kinds(await read(process.stub.Chat(chat(), metadata=bob)))[-1] == "finished"
        waiting.cancel()
        async with asyncio.timeout(10):
            await tools_process.service.ended.wait()
