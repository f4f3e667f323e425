"""What a client of a stream of calls says and hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from services.tools.call_stream import CallStream, Request
from services.tools.catalogue import Category, LoopCall, SafetyLevel, tool
from services.tools.events import CallEvent, Output, Progress, Result, Started
from services.tools.runner import Invocation
from tests.tools.conftest import SECONDS, Gate, Name, Named, reason

MakeStream = Callable[..., CallStream]


@tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS)
async def reporter(arguments: Name, call: LoopCall) -> Named:
    """Reports a lot."""
    for step in range(100):
        await call.report(Progress(f"{step}"))
    return Named(name=arguments.name)


class Requests:
    """What a client says, when the test says it."""

    def __init__(self, *first: Request) -> None:
        self._queue: asyncio.Queue[Request | Exception | None] = asyncio.Queue()
        for request in first:
            self.say(request)

    def say(self, request: Request | Exception | None) -> None:
        """A request; None ends them; an exception breaks them."""
        self._queue.put_nowait(request)

    async def __aiter__(self) -> AsyncIterator[Request]:
        while (request := await self._queue.get()) is not None:
            if isinstance(request, Exception):
                raise request
            yield request


def gate_call(call_id: str) -> Invocation:
    return Invocation(call_id, "gate", json.dumps({"name": call_id}))


async def collect(stream: CallStream, *requests: Request) -> list[CallEvent]:
    """All events of these requests."""
    said = Requests(*requests)
    said.say(None)
    async with asyncio.timeout(SECONDS), aclosing(stream.events(said)) as events:
        return [event async for event in events]


async def gate_starts(events: AsyncIterator[CallEvent], gate: Gate, number: int) -> None:
    """Read up to where so many calls stand at the gate."""
    for _ in range(number):
        assert isinstance((await anext(events)).what, Started)
    await gate.wait_for_inside(number)


def lasts(events: list[CallEvent]) -> dict[str, object]:
    """The last event of each call: its result's text, or its error's reason."""
    return {
        event.call_id: event.what.content if isinstance(event.what, Result) else reason(event.what)
        for event in events
        if not isinstance(event.what, Started | Progress | Output)
    }
