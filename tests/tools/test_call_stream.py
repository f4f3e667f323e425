from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from services.rpc.errors import InvalidRequest
from services.tools.call_stream import Caller, CallStream, Cancellation, Request, StreamLimits
from services.tools.catalogue import Catalogue, Category, LoopCall, SafetyLevel, tool
from services.tools.events import CallEvent, Output, Progress, Result, Started
from services.tools.runner import Invocation, Runner
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools import sample_tools
from tests.tools.conftest import LIMITS, SECONDS, Gate, Name, Named, reason

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


def lasts(events: list[CallEvent]) -> dict[str, object]:
    """The last event of each call: its result's text, or its error's reason."""
    return {
        event.call_id: event.what.content if isinstance(event.what, Result) else reason(event.what)
        for event in events
        if not isinstance(event.what, Started | Progress | Output)
    }


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


async def gate_starts(events: AsyncIterator[CallEvent], gate: Gate, number: int) -> None:
    """Read up to where so many calls stand at the gate."""
    for _ in range(number):
        assert isinstance((await anext(events)).what, Started)
    await gate.wait_for_inside(number)


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


async def test_the_caller_s_deadline_reaches_every_call(make_stream: MakeStream) -> None:
    gate = Gate()
    deadline = asyncio.get_running_loop().time() + 0.05
    events = await collect(make_stream(gate.tool, deadline=deadline), gate_call("a"), gate_call("b"))
    assert lasts(events) == {"a": "DEADLINE_EXCEEDED", "b": "DEADLINE_EXCEEDED"}


async def test_a_fault_of_ours_is_masked(workspaces: Workspaces, tokens: TokenMaker) -> None:
    broken = WorkerPool(workspaces, ["no.such.module"], 1)
    turns = Turns(running=1, running_per_caller=1, waiting_per_caller=1)
    runner = Runner(Catalogue(sample_tools.TOOLS), broken, turns, max_argument_bytes=100)
    stream = CallStream(runner, Caller(tokens.principal("*"), "request-1", None), LIMITS)
    [event] = await collect(stream, Invocation("a", "echo", "{}"))
    assert reason(event.what) == "INTERNAL"
    assert event.what.metadata == {"request_id": "request-1"}
    await broken.stop()


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


async def test_a_cancelled_call_is_a_failure_for_those_after_it(make_stream: MakeStream) -> None:
    gate = Gate()
    requests = Requests(gate_call("a"), Invocation("b", "reporter", "{}", after=("a",)))
    async with aclosing(make_stream(gate.tool, reporter).events(requests)) as events:
        await gate_starts(events, gate, 1)
        requests.say(Cancellation("a"))
        requests.say(None)
        rest = lasts([event async for event in events])
    assert rest == {"a": "CANCELLED", "b": "PREDECESSOR_FAILED"}


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
