"""How the calls of a stream end before they are done: cancelled, closed, out of time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from services.rpc.errors import InvalidRequest
from services.tools.call_stream import Cancellation, StreamLimits
from services.tools.events import Started
from services.tools.runner import Invocation
from tests.tools.call_streams import MakeStream, Requests, collect, gate_call, gate_starts, lasts, reporter
from tests.tools.conftest import SECONDS, Gate, reason


async def test_one_call_is_cancelled_and_the_others_go_on(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"), gate_call("b"))
    async with aclosing(make_stream(gate.tool).events(requests)) as events:
        await gate_starts(events, gate, 2)
        requests.say(Cancellation("a"))
        requests.say(Cancellation("nobody"))
        cancelled = await anext(events)
        assert (cancelled.call_id, reason(cancelled.what), cancelled.sequence) == ("a", "CANCELLED", 2)
        requests.say(Cancellation("a"))
        gate.open.set()
        requests.say(None)
        assert lasts([event async for event in events]) == {"b": '{"name":"b"}'}
    assert gate.cancelled == ["a"]


async def test_a_call_that_waits_is_cancelled_without_having_run(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"), gate_call("b"))
    stream = make_stream(gate.tool, limits=StreamLimits(running=1, open=10, total=10))
    async with aclosing(stream.events(requests)) as events:
        await gate_starts(events, gate, 1)
        requests.say(Cancellation("b"))
        cancelled = await anext(events)
        assert (cancelled.call_id, cancelled.sequence) == ("b", 1)
        gate.open.set()
        requests.say(None)
        assert lasts([event async for event in events]) == {"a": '{"name":"a"}'}


async def test_a_call_that_is_cancelled_at_once_still_says_so(make_stream: MakeStream) -> None:
    events = await collect(make_stream(reporter), Invocation("a", "reporter", "{}"), Cancellation("a"))
    assert lasts(events) == {"a": "CANCELLED"}


async def test_half_closing_lets_running_calls_end(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"))
    requests.say(None)
    async with aclosing(make_stream(gate.tool).events(requests)) as events:
        await gate_starts(events, gate, 1)
        gate.open.set()
        assert lasts([event async for event in events]) == {"a": '{"name":"a"}'}
    assert gate.cancelled == []


async def test_closing_ends_every_call_before_it_returns(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(*(gate_call(name) for name in "abc"))
    events = make_stream(gate.tool).events(requests)
    await gate_starts(events, gate, 3)
    await events.aclose()
    assert sorted(gate.cancelled) == ["a", "b", "c"]
    assert gate.inside == []


async def test_closing_while_nobody_reads_does_not_hang(make_stream: MakeStream) -> None:
    requests = Requests(*(Invocation(f"{number}", "reporter", "{}") for number in range(16)))
    events = make_stream(reporter).events(requests)
    assert isinstance((await anext(events)).what, Started)
    for number in range(16):
        requests.say(Cancellation(f"{number}"))
    for _ in range(50):
        await asyncio.sleep(0)  # the queue of events fills, and every call waits for room in it
    async with asyncio.timeout(SECONDS):
        await events.aclose()


async def test_a_request_that_cannot_be_read_ends_the_stream_and_its_calls(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"))
    async with aclosing(make_stream(gate.tool).events(requests)) as events:
        await gate_starts(events, gate, 1)
        requests.say(InvalidRequest("call_id is empty"))
        with pytest.raises(InvalidRequest):
            await anext(events)
    assert gate.cancelled == ["a"]


async def test_the_caller_s_deadline_reaches_every_call(make_stream: MakeStream) -> None:
    gate = Gate()
    deadline = asyncio.get_running_loop().time() + 0.05
    events = await collect(make_stream(gate.tool, deadline=deadline), gate_call("a"), gate_call("b"))
    assert lasts(events) == {"a": "DEADLINE_EXCEEDED", "b": "DEADLINE_EXCEEDED"}


async def test_all_calls_are_cancelled_and_the_stream_goes_on(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(
        gate_call("runs"),
        gate_call("waits"),
        Invocation("after", "reporter", "{}", after=("runs",)),
    )
    stream = make_stream(gate.tool, reporter, limits=StreamLimits(running=1, open=10, total=10))
    async with aclosing(stream.events(requests)) as events:
        await gate_starts(events, gate, 1)
        requests.say(Cancellation(None))
        requests.say(Invocation("new", "reporter", "{}"))
        requests.say(None)
        rest = lasts([event async for event in events])
    assert rest == {"runs": "CANCELLED", "waits": "CANCELLED", "after": "CANCELLED", "new": '{"name":""}'}
    assert gate.cancelled == ["runs"]
