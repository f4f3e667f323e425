"""Ends runs from outside: waiting for a seat, reading their prompt, speaking, and while a tool runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

import grpc

from cli.bench.sides import TEXT
from parley.inference.v1 import chat_pb2
from parley_client.client import Client
from parley_client.errors import ParleyError
from parley_client.stream import EventStream

STARTED = frozenset({"started"})
TIMED_RUNS = 3


class Way(Enum):
    """How a run is ended."""

    GONE = "client gone"
    CANCEL = "Cancel"
    DEADLINE = "deadline"


Times = dict[tuple[str, Way], list[float]]
"""Milliseconds from a run's end to a free slot, by what was cut and how."""


@dataclass(frozen=True)
class Kind:
    """The runs that are cut at one moment.

    Attributes:
        request: Makes the request of a number.
        after: The events of which the first tells that the moment is near.
        pause: Seconds from there.
        deadline: What a run is given that its deadline ends then, in seconds.
    """

    request: Callable[[int], chat_pb2.ChatRequest]
    after: Collection[str]
    pause: float
    deadline: float


@dataclass(frozen=True)
class Cut:
    """A run that was ended.

    Attributes:
        run_id: The run; empty where it was refused.
        seconds: When it was ended, in Unix time.
    """

    run_id: str
    seconds: float


async def cut(client: Client, kind: Kind, number: int, way: Way) -> Cut:
    """Ask, and end the run in this way."""
    request = kind.request(number)
    if way is Way.DEADLINE:
        return await outlived(client, request, kind.deadline)
    async with client.chat(request) as events:
        run_id = await _until(events, kind.after)
        await asyncio.sleep(kind.pause)
        return await end(client, events, run_id, way)


async def end(client: Client, events: EventStream[chat_pb2.ChatEvent], run_id: str, way: Way) -> Cut:
    """End a run as its client does."""
    seconds = time.time()
    if way is Way.GONE:
        await events.aclose()
    else:
        await client.cancel(run_id)
        async for _ in events:
            pass
    return Cut(run_id, seconds)


async def outlived(client: Client, request: chat_pb2.ChatRequest, deadline: float) -> Cut:
    """Ask with a deadline that comes before the answer's end.

    Raises:
        ParleyError: The call failed otherwise.
    """
    seconds, run_id = time.time() + deadline, ""
    try:
        async with client.chat(request, timeout_seconds=deadline) as events:
            async for event in events:
                run_id = run_id or event.started.run_id
    except ParleyError as error:
        # A run that cannot begin in time is refused, and never held anything.
        if error.code is not grpc.StatusCode.DEADLINE_EXCEEDED and error.reason != "OVERLOADED":
            raise
    return Cut(run_id, seconds)


async def _until(events: EventStream[chat_pb2.ChatEvent], kinds: Collection[str]) -> str:
    """Read up to the first event of these kinds; gives the run."""
    run_id = ""
    async for event in events:
        run_id = run_id or event.started.run_id
        if event.WhichOneof("event") in kinds:
            break
    return run_id


@dataclass(frozen=True)
class Pace:
    """What a run takes that nobody cuts, in seconds: to its first event, and to its first text."""

    started: float
    spoken: float


async def pace_of(client: Client, request: Callable[[int], chat_pb2.ChatRequest]) -> Pace:
    """The quickest of some runs."""
    paces = []
    for number in range(TIMED_RUNS):
        began = time.monotonic()
        async with client.chat(request(-1 - number)) as events:
            await _until(events, STARTED)
            started = time.monotonic() - began
            await _until(events, TEXT)
        paces.append(Pace(started, time.monotonic() - began))
    return min(paces, key=lambda pace: pace.spoken)
