"""Calls on one stream: at once, within limits, and each told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from services.tools.call_stream import Caller, CallStream, StreamLimits
from services.tools.catalogue import Catalogue
from services.tools.events import Result, Started
from services.tools.runner import Invocation, Runner
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools import sample_tools
from tests.tools.call_streams import MakeStream, Requests, collect, gate_call, gate_starts, lasts, reporter
from tests.tools.conftest import LIMITS, Gate, reason


async def test_calls_run_at_once_and_events_come_as_they_happen(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(*(gate_call(f"{number}") for number in range(16)))
    async with aclosing(make_stream(gate.tool).events(requests)) as events:
        started = [await anext(events) for _ in range(16)]
        await gate.wait_for_inside(16)
        assert all(isinstance(event.what, Started) for event in started)
        gate.open.set()
        requests.say(None)
        ended = [event async for event in events]
    assert gate.most_inside == 16
    assert {event.call_id for event in ended} == {f"{number}" for number in range(16)}
    assert all(event.sequence == 2 for event in ended)


async def test_a_quick_call_overtakes_a_slow_one(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("slow"), Invocation("quick", "reporter", "{}"))
    async with aclosing(make_stream(gate.tool, reporter).events(requests)) as events:
        async for event in events:
            if isinstance(event.what, Result):
                break
        assert event.call_id == "quick"
        gate.open.set()
        requests.say(None)
        assert [event.call_id async for event in events] == ["slow"]


async def test_sequences_have_no_gaps(make_stream: MakeStream) -> None:
    events = await collect(
        make_stream(reporter), Invocation("a", "reporter", "{}"), Invocation("b", "reporter", "{}")
    )
    for call_id in "ab":
        sequences = [event.sequence for event in events if event.call_id == call_id]
        assert sequences == list(range(1, 103))


async def test_a_stream_runs_no_more_at_once_than_it_may(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(*(gate_call(f"{number}") for number in range(6)))
    stream = make_stream(gate.tool, limits=StreamLimits(running=2, open=10, total=10))
    async with aclosing(stream.events(requests)) as events:
        await anext(events)
        await gate.wait_for_inside(2)
        gate.open.set()
        requests.say(None)
        rest = [event async for event in events]
    assert gate.most_inside == 2
    assert len(rest) == 11


async def test_a_stream_takes_no_more_calls_than_it_may(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(*(gate_call(f"{number}") for number in range(4)))
    stream = make_stream(gate.tool, limits=StreamLimits(running=1, open=3, total=10))
    async with aclosing(stream.events(requests)) as events:
        first = [await anext(events), await anext(events)]
        assert {event.call_id: reason(event.what) for event in first if event.call_id == "3"} == {
            "3": "OVERLOADED"
        }
        gate.open.set()
        requests.say(None)
        rest = [event async for event in events]
    assert sorted(lasts(rest)) == ["0", "1", "2"]


async def test_a_stream_ends_its_calls_after_so_many(make_stream: MakeStream) -> None:
    stream = make_stream(reporter, limits=StreamLimits(running=1, open=10, total=2))
    events = await collect(stream, *(Invocation(f"{number}", "reporter", "{}") for number in range(3)))
    assert lasts(events)["2"] == "OVERLOADED"
    assert len(lasts(events)) == 3


@pytest.mark.parametrize("second", ["while it runs", "after it ended"])
async def test_an_id_can_be_used_once(make_stream: MakeStream, second: str) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"))
    async with aclosing(make_stream(gate.tool).events(requests)) as events:
        await anext(events)
        if second == "after it ended":
            gate.open.set()
            await anext(events)
        requests.say(gate_call("a"))
        refused = await anext(events)
        assert reason(refused.what) == "CALL_ID_TAKEN"
        assert refused.sequence == 1
        gate.open.set()
        requests.say(None)
        rest = [event async for event in events]
    assert [type(event.what) for event in rest] == ([Result] if second == "while it runs" else [])


async def test_a_call_that_fails_disturbs_no_other(make_stream: MakeStream) -> None:
    events = await collect(
        make_stream(*sample_tools.TOOLS),
        Invocation("good", "echo", '{"text": "x"}'),
        Invocation("bad", "failing", "{}"),
        Invocation("worse", "dying", "{}"),
        Invocation("unknown", "nope", "{}"),
        Invocation("no JSON", "echo", "{"),
        Invocation("hangs", "hanging", "{}"),
        Invocation("floods", "flooding", "{}"),
    )
    assert lasts(events) == {
        "good": '{"text":"x"}',
        "bad": "TOOL_FAILED",
        "worse": "TOOL_FAILED",
        "unknown": "TOOL_NOT_FOUND",
        "no JSON": "INVALID_ARGUMENTS",
        "hangs": "TOOL_TIMEOUT",
        "floods": "OUTPUT_TOO_LARGE",
    }


async def test_a_fault_of_ours_is_masked(workspaces: Workspaces, tokens: TokenMaker) -> None:
    broken = WorkerPool(workspaces, ["no.such.module"], 1)
    turns = Turns(running=1, running_per_caller=1, waiting_per_caller=1)
    runner = Runner(Catalogue(sample_tools.TOOLS), broken, turns, max_argument_bytes=100)
    stream = CallStream(runner, Caller(tokens.principal("*"), "request-1", None), LIMITS)
    [event] = await collect(stream, Invocation("a", "echo", "{}"))
    assert reason(event.what) == "INTERNAL"
    assert event.what.metadata == {"request_id": "request-1"}
    await broken.stop()


async def test_a_repeated_key_gets_the_first_result(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(
        Invocation("a", "gate", '{"name": "x"}', idempotency_key="k"),
        Invocation("b", "gate", '{"name": "x"}', idempotency_key="k"),
        Invocation("c", "gate", '{"name": "y"}', idempotency_key="k"),
    )
    async with aclosing(make_stream(gate.tool).events(requests)) as events:
        await gate_starts(events, gate, 1)
        assert reason((await anext(events)).what) == "IDEMPOTENCY_KEY_REUSED"
        gate.open.set()
        requests.say(None)
        rest = [event async for event in events]
    assert [(e.call_id, e.what.content, e.what.replayed) for e in rest] == [
        ("a", '{"name":"x"}', False),
        ("b", '{"name":"x"}', True),
    ]
    assert gate.most_inside == 1


async def test_a_kept_result_needs_the_permission_too(
    make_runner: Callable[..., Runner], tokens: TokenMaker
) -> None:
    runner = make_runner(reporter)
    call = Invocation("a", "reporter", "{}", idempotency_key="k")
    for permission, expected in (("tools.*", '{"name":""}'), ("tools.math.*", "PERMISSION_MISSING")):
        caller = Caller(tokens.principal(permission), "request-1", None)
        assert lasts(await collect(CallStream(runner, caller, LIMITS), call)) == {"a": expected}


async def test_a_thousand_calls_end_and_leave_nothing(
    make_runner: Callable[..., Runner], pool: WorkerPool, tokens: TokenMaker
) -> None:
    runner = make_runner(*sample_tools.TOOLS, waiting_per_caller=1000)
    caller = Caller(tokens.principal("tools.*"), "request-1", None)
    limits = StreamLimits(running=1000, open=1000, total=1000)
    await collect(CallStream(runner, caller, limits), Invocation("warm", "echo", "{}"))
    await pool.start()
    files, processes = open_files(), pool.pids
    calls = [Invocation(f"{number}", "echo", f'{{"text": "{number}"}}') for number in range(1000)]
    events = await collect(CallStream(runner, caller, limits), *calls)
    assert lasts(events) == {f"{number}": f'{{"text":"{number}"}}' for number in range(1000)}
    assert open_files() <= files  # what earlier tests left may go meanwhile
    assert pool.pids == processes
    assert len(asyncio.all_tasks()) == 1


def open_files() -> int:
    """Descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
