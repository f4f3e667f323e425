from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.rpc.errors import DeadlineExceeded, Overloaded, PermissionMissing
from services.tools.catalogue import Category, LoopCall, SafetyLevel, Tool, tool
from services.tools.errors import (
    InvalidArguments,
    OutputTooLarge,
    ToolFailed,
    ToolNotFound,
    ToolTimeout,
)
from services.tools.events import Happening, Output, Progress, Result, Started
from services.tools.runner import Invocation, Runner
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from tests.conftest import TokenMaker
from tests.rpc.spans import by_name, traced
from tests.tools import sample_tools
from tests.tools.conftest import SECONDS, Gate, Name, Named, discard
from tests.tools.test_workers import gone

MakeRunner = Callable[..., Runner]
ALL = "tools.*"


@tool(category=Category.DATA, safety=SafetyLevel.SAFE, timeout_seconds=0.05, max_output_bytes=100)
async def sleepy(_arguments: Name, _call: LoopCall) -> Named:
    """Never wakes up."""
    await asyncio.Event().wait()
    raise AssertionError


@tool(category=Category.DATA, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS, max_output_bytes=100)
async def wordy(arguments: Name, call: LoopCall) -> Named:
    """Says a lot."""
    await call.report(Progress("halfway", 0.5))
    await call.report(Output(arguments.name))
    return Named(name=arguments.name)


@tool(category=Category.DATA, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS)
async def faulty(_arguments: Name, _call: LoopCall) -> Named:
    """Breaks."""
    raise TimeoutError("the password is hunter2")


@tool(category=Category.DATA, safety=SafetyLevel.SAFE, timeout_seconds=SECONDS)
async def refusing(_arguments: Name, _call: LoopCall) -> Named:
    """Fails as tools do."""
    raise ToolFailed("refusing", "No.")


LOOP_TOOLS = (sleepy, wordy, faulty, refusing)


async def run(
    runner: Runner,
    tokens: TokenMaker,
    name: str,
    arguments: str = "{}",
    *,
    timeout_seconds: float | None = None,
    deadline: float | None = None,
    emit: Callable[[Happening], object] = discard,
) -> Result:
    invocation = Invocation("1", name, arguments, timeout_seconds)
    return await runner.run(invocation, tokens.principal(ALL), deadline, emit)


def count(name: str, reason: str) -> float:
    return REGISTRY.get_sample_value("parley_tool_calls_total", {"tool": name, "reason": reason}) or 0


@pytest.mark.parametrize("tools", [LOOP_TOOLS, sample_tools.TOOLS], ids=["loop", "worker"])
async def test_a_call_tells_what_happens_and_gives_its_result(
    make_runner: MakeRunner, tokens: TokenMaker, tools: tuple[Tool, ...]
) -> None:
    happened: list[Happening] = []

    async def emit(what: Happening) -> None:
        happened.append(what)

    name, arguments = ("wordy", '{"name": "x"}') if tools is LOOP_TOOLS else ("stepping", '{"steps": 1}')
    result = await run(make_runner(*tools), tokens, name, arguments, emit=emit)
    assert [type(what) for what in happened] == [Started, Progress, Output]
    assert result.content in ('{"name":"x"}', '{"text":"done"}')
    assert result.duration_seconds > 0


async def test_a_traced_call_has_a_span_that_tells_neither_arguments_nor_what_the_tool_said(
    make_runner: MakeRunner, tokens: TokenMaker
) -> None:
    runner = make_runner(*LOOP_TOOLS)
    with traced() as kept:
        await run(runner, tokens, "wordy", '{"name": "hunter2"}')
        with pytest.raises(ToolFailed):
            await run(runner, tokens, "faulty")
    spans = by_name(kept)
    assert dict(spans["execute_tool wordy"].attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "wordy",
        "gen_ai.tool.call.id": "1",
        "gen_ai.tool.type": "function",
    }
    assert (spans["execute_tool faulty"].attributes or {})["error.type"] == "TOOL_FAILED"
    assert not any("hunter2" in span.to_json() for span in kept.get_finished_spans())


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("nope", "{}", ToolNotFound),
        ("echo", "{", InvalidArguments),
        ("echo", '{"text": 5}', InvalidArguments),
        ("failing", "{}", ToolFailed),
        ("broken", "{}", ToolFailed),
        ("dying", "{}", ToolFailed),
        ("hanging", "{}", ToolTimeout),
        ("flooding", "{}", OutputTooLarge),
        ("bulky", "{}", OutputTooLarge),
        ("echo", '{"text": "' + "x" * 1000 + '"}', OutputTooLarge),
        ("sleepy", "{}", ToolTimeout),
        ("wordy", '{"name": "' + "x" * 101 + '"}', OutputTooLarge),
        ("wordy", '{"name": "' + "x" * 95 + '"}', OutputTooLarge),
        ("faulty", "{}", ToolFailed),
        ("refusing", "{}", ToolFailed),
    ],
)
async def test_each_way_to_fail_has_its_error_and_the_next_call_goes_well(
    make_runner: MakeRunner, tokens: TokenMaker, name: str, arguments: str, error: type[Exception]
) -> None:
    runner = make_runner(*sample_tools.TOOLS, *LOOP_TOOLS)
    with pytest.raises(error) as caught:
        await run(runner, tokens, name, arguments)
    assert "hunter2" not in caught.value.message
    assert (await run(runner, tokens, "echo", '{"text": "on"}')).content == '{"text":"on"}'


async def test_a_tool_that_hangs_leaves_no_process_behind(
    make_runner: MakeRunner, tokens: TokenMaker, pool: WorkerPool
) -> None:
    await pool.start()
    before = pool.pids
    with pytest.raises(ToolTimeout):
        await run(make_runner(*sample_tools.TOOLS), tokens, "hanging")
    [ended] = before - pool.pids
    await gone(ended)
    assert len(pool.pids) == 1


async def test_a_caller_may_ask_for_less_time_but_not_for_more(
    make_runner: MakeRunner, tokens: TokenMaker
) -> None:
    runner = make_runner(*sample_tools.TOOLS, *LOOP_TOOLS)
    with pytest.raises(ToolTimeout) as caught:
        await run(runner, tokens, "waiting", timeout_seconds=0.25)
    assert caught.value.metadata["timeout_seconds"] == "0.25"
    with pytest.raises(ToolTimeout) as caught:
        await run(runner, tokens, "sleepy", timeout_seconds=SECONDS)
    assert caught.value.metadata["timeout_seconds"] == "0.05"


async def test_the_deadline_ends_a_call_that_runs_or_waits(
    make_runner: MakeRunner, tokens: TokenMaker
) -> None:
    gate = Gate()
    runner = make_runner(gate.tool, running_per_caller=1)
    soon = asyncio.get_running_loop().time() + 1
    ended = await asyncio.gather(
        run(runner, tokens, "gate", '{"name": "runs"}', deadline=soon),
        run(runner, tokens, "gate", '{"name": "waits"}', deadline=soon),
        return_exceptions=True,
    )
    assert [type(error) for error in ended] == [DeadlineExceeded, DeadlineExceeded]
    assert gate.cancelled == ["runs"]


async def test_calls_of_one_caller_run_in_parallel_up_to_the_bound(
    make_runner: MakeRunner, tokens: TokenMaker
) -> None:
    gate = Gate()
    runner = make_runner(gate.tool, running_per_caller=3, waiting_per_caller=2)
    async with asyncio.TaskGroup() as calls:
        for _ in range(5):
            calls.create_task(run(runner, tokens, "gate"))
        await gate.wait_for_inside(3)
        with pytest.raises(Overloaded):
            await run(runner, tokens, "gate")
        gate.open.set()
    assert gate.most_inside == 3


async def test_a_tool_that_waits_apart_keeps_no_other_from_running(
    make_runner: MakeRunner, tokens: TokenMaker
) -> None:
    gate = Gate()
    apart = Turns(running=1, running_per_caller=1, waiting_per_caller=0)
    slow = replace(gate.tool, waits_apart=True)
    runner = make_runner(slow, *LOOP_TOOLS, running=1, running_per_caller=1, turns_apart=apart)
    async with asyncio.TaskGroup() as calls:
        calls.create_task(run(runner, tokens, "gate"))
        await gate.wait_for_inside(1)
        assert (await run(runner, tokens, "wordy", '{"name": "x"}')).content == '{"name":"x"}'
        with pytest.raises(Overloaded):
            await run(runner, tokens, "gate")
        gate.open.set()


async def test_permission_is_asked_before_anything_is_read(
    make_runner: MakeRunner, tokens: TokenMaker
) -> None:
    runner = make_runner(*sample_tools.TOOLS)
    with pytest.raises(PermissionMissing):
        await runner.run(Invocation("1", "echo", "{"), tokens.principal("tools.math.*"), None, discard)


async def test_calls_are_counted_by_their_end(make_runner: MakeRunner, tokens: TokenMaker) -> None:
    runner = make_runner(*LOOP_TOOLS, Gate().tool)
    before = count("wordy", ""), count("refusing", "TOOL_FAILED"), count("gate", "CANCELLED")
    await run(runner, tokens, "wordy")
    with pytest.raises(ToolFailed):
        await run(runner, tokens, "refusing")
    task = asyncio.create_task(run(runner, tokens, "gate"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after = count("wordy", ""), count("refusing", "TOOL_FAILED"), count("gate", "CANCELLED")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


async def test_a_fault_of_a_loop_tool_is_logged(make_runner: MakeRunner, tokens: TokenMaker) -> None:
    with capture_logs() as logs, pytest.raises(ToolFailed):
        await run(make_runner(*LOOP_TOOLS), tokens, "faulty")
    assert "hunter2" in logs[0]["traceback"]
