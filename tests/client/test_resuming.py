"""Chats that are cut and read on by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from parley.inference.v1 import chat_pb2, inference_service_pb2
from parley_client.client import Client, question
from parley_client.errors import ParleyError
from tests.client.toy_platform import RUN_ID, ToyPlatform, failure

Connect = Callable[[], Client]


def kept_question(seconds: int = 30) -> chat_pb2.ChatRequest:
    request = question("What is 17 * 23?")
    request.resume_window.FromSeconds(seconds)
    return request


def asked(toy: ToyPlatform, kind: type[Any]) -> list[Any]:
    return [request for request in toy.requests if isinstance(request, kind)]


async def test_a_stream_that_is_cut_again_and_again_is_whole(toy: ToyPlatform, connect: Connect) -> None:
    toy.cuts = [1, 2, 5, len(toy.events) - 1]
    async with connect() as client, client.chat(kept_question()) as events:
        seen = [event async for event in events]
    assert [event.sequence for event in seen] == list(range(1, len(toy.events) + 1))
    resumes = asked(toy, inference_service_pb2.ResumeRequest)
    assert [(each.run_id, each.after_sequence) for each in resumes] == [
        (RUN_ID, after) for after in (1, 2, 5, len(toy.events) - 1)
    ]
    assert asked(toy, inference_service_pb2.CancelRequest) == []


async def test_a_platform_that_is_away_for_a_while_is_waited_for(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client, client.chat(kept_question()) as events:
        toy.cuts = [3]
        seen = [await anext(events) for _ in range(3)]
        toy.lapses = 2
        seen += [event async for event in events]
    assert [event.sequence for event in seen] == list(range(1, len(toy.events) + 1))
    assert len(asked(toy, inference_service_pb2.ResumeRequest)) == 3


async def test_a_stream_that_ends_without_its_last_event_was_cut(toy: ToyPlatform, connect: Connect) -> None:
    whole, toy.events = toy.events, toy.events[:4]
    async with connect() as client, client.chat(kept_question()) as events:
        seen = [await anext(events) for _ in range(4)]
        toy.events = whole
        seen += [event async for event in events]
    assert seen[-1].HasField("finished")
    assert len(seen) == len(whole)


async def test_it_gives_up_with_the_window(toy: ToyPlatform, connect: Connect) -> None:
    toy.cuts = [2]
    async with connect() as client, client.chat(kept_question(1)) as events:
        await anext(events)
        await anext(events)
        toy.lapses = 100
        with pytest.raises(ParleyError) as caught:
            await anext(events)
        toy.lapses = 0
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert 1 <= len(asked(toy, inference_service_pb2.ResumeRequest)) <= 10


async def test_what_is_no_cut_is_not_tried_again(toy: ToyPlatform, connect: Connect) -> None:
    toy.cuts = [2]
    toy.failures["Resume"] = failure(code_pb2.OUT_OF_RANGE, "EVENTS_GONE", "Gone.", first_sequence="9")
    async with connect() as client, client.chat(kept_question()) as events:
        with pytest.raises(ParleyError) as caught:
            [event async for event in events]
    assert (caught.value.reason, caught.value.metadata) == ("EVENTS_GONE", {"first_sequence": "9"})
    assert len(asked(toy, inference_service_pb2.ResumeRequest)) == 1


async def test_a_reader_that_was_too_slow_reads_on(toy: ToyPlatform, connect: Connect) -> None:
    toy.cuts = [2]
    toy.failures["Resume"] = failure(code_pb2.ABORTED, "READER_TOO_SLOW", "Slow.", limit_seconds="30")
    async with connect() as client, client.chat(kept_question()) as events:
        seen = [await anext(events) for _ in range(2)]
        following = asyncio.ensure_future(anext(events))
        async with asyncio.timeout(15):
            while not asked(toy, inference_service_pb2.ResumeRequest):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        toy.failures.clear()
        seen += [await following, *[event async for event in events]]
    assert [event.sequence for event in seen] == list(range(1, len(toy.events) + 1))
    assert len(asked(toy, inference_service_pb2.ResumeRequest)) >= 2


async def test_without_a_window_a_cut_is_an_error(toy: ToyPlatform, connect: Connect) -> None:
    """Also where the platform could not give the one that was asked for."""
    for request in (question("Hi"), kept_question(0)):
        toy.cuts = [2]
        async with connect() as client, client.chat(request) as events:
            with pytest.raises(ParleyError):
                [event async for event in events]
    assert asked(toy, inference_service_pb2.ResumeRequest) == []


async def test_closing_cancels_the_run(toy: ToyPlatform, connect: Connect) -> None:
    toy.hang = True
    async with connect() as client:
        async with client.chat(kept_question()) as events:
            await anext(events)
        await events.aclose()
        assert await asyncio.to_thread(toy.chat_ended.wait, 10)
    assert [each.run_id for each in asked(toy, inference_service_pb2.CancelRequest)] == [RUN_ID]


async def test_a_run_can_be_read_by_its_name(toy: ToyPlatform, connect: Connect) -> None:
    async with connect() as client, client.resume(RUN_ID, 4) as events:
        seen = [event.sequence async for event in events]
    assert seen == list(range(5, len(toy.events) + 1))
