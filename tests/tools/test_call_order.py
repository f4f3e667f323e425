"""Calls of a stream that come after others."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from services.tools.call_stream import Cancellation, StreamLimits
from services.tools.events import Progress, Result, Started
from services.tools.runner import Invocation
from tests.tools import sample_tools
from tests.tools.call_streams import MakeStream, Requests, collect, gate_call, gate_starts, lasts, reporter
from tests.tools.conftest import Gate


async def test_a_call_runs_after_those_it_names(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(
        gate_call("first"),
        Invocation("second", "reporter", "{}", after=("first",)),
        Invocation("third", "reporter", "{}", after=("first", "second")),
    )
    async with aclosing(make_stream(gate.tool, reporter).events(requests)) as events:
        await gate_starts(events, gate, 1)
        gate.open.set()
        requests.say(None)
        seen = [event async for event in events]
    order = [(event.call_id, type(event.what)) for event in seen if not isinstance(event.what, Progress)]
    assert order == [
        ("first", Result),
        ("second", Started),
        ("second", Result),
        ("third", Started),
        ("third", Result),
    ]


async def test_calls_that_wait_for_others_take_no_turns(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(
        gate_call("slow"),
        *(Invocation(f"{number}", "reporter", "{}", after=("slow",)) for number in range(3)),
        gate_call("other"),
    )
    stream = make_stream(gate.tool, reporter, limits=StreamLimits(running=2, open=10, total=10))
    async with aclosing(stream.events(requests)) as events:
        await gate_starts(events, gate, 2)
        gate.open.set()
        requests.say(None)
        assert len(lasts([event async for event in events])) == 5


async def test_what_comes_after_a_failure_does_not_run(make_stream: MakeStream) -> None:
    events = await collect(
        make_stream(*sample_tools.TOOLS),
        Invocation("bad", "failing", "{}"),
        Invocation("next", "echo", "{}", after=("bad",)),
        Invocation("last", "echo", "{}", after=("next",)),
        Invocation("beside", "echo", "{}"),
    )
    assert lasts(events) == {
        "bad": "TOOL_FAILED",
        "next": "PREDECESSOR_FAILED",
        "last": "PREDECESSOR_FAILED",
        "beside": '{"text":""}',
    }
    [skipped] = [event for event in events if event.call_id == "next"]
    assert (skipped.sequence, skipped.what.metadata) == (1, {"call_id": "bad"})


@pytest.mark.parametrize("named", ["later", "self", "nobody"])
async def test_a_call_comes_only_after_calls_that_were_asked_for(make_stream: MakeStream, named: str) -> None:
    events = await collect(
        make_stream(reporter),
        Invocation("self", "reporter", "{}", after=(named,)),
        Invocation("later", "reporter", "{}"),
    )
    assert lasts(events) == {"self": "PREDECESSOR_UNKNOWN", "later": '{"name":""}'}


async def test_a_cancelled_call_is_a_failure_for_those_after_it(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"), Invocation("b", "reporter", "{}", after=("a",)))
    async with aclosing(make_stream(gate.tool, reporter).events(requests)) as events:
        await gate_starts(events, gate, 1)
        requests.say(Cancellation("a"))
        requests.say(None)
        rest = lasts([event async for event in events])
    assert rest == {"a": "CANCELLED", "b": "PREDECESSOR_FAILED"}
