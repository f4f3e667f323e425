from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from prometheus_client import REGISTRY

from services.inference.engine.turn import ToolCall
from services.inference.errors import EngineFailed
from services.inference.metrics import observed
from services.inference.reading.step import ContentDelta
from services.inference.runs.events import CallResult, Finished, FinishReason, RunEvent, RunUsage, Started
from services.inference.runs.registry import Run
from services.rpc.call import Call, enter_call
from tests.inference.runs.test_runs import OWNER, limit

ANSWER: tuple[RunEvent, ...] = (
    Started("m", 7),
    ContentDelta("4"),
    ContentDelta("2"),
    RunUsage(prompt_tokens=7, completion_tokens=2, cached_prompt_tokens=5, turns=1),
    Finished(FinishReason.STOP),
)


async def answer(*events: RunEvent) -> AsyncGenerator[RunEvent, None]:
    for event in events:
        yield event


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"parley_inference_{name}", labels) or 0.0


async def test_an_answer_is_counted_once_and_passed_on_unchanged() -> None:
    enter_call(Call("request-1", "/chat", tenant_class="gold"))
    assert [event async for event in observed("counted", answer(*ANSWER))] == list(ANSWER)
    assert value("runs_total", model="counted", reason="STOP") == 1
    assert value("time_to_first_token_seconds_count", model="counted", tenant_class="gold") == 1
    kinds = ("prompt", "cached_prompt", "completion", "reasoning")
    counted = [value("tokens_total", model="counted", kind=kind, tenant_class="gold") for kind in kinds]
    assert counted == [7, 5, 2, 0]


async def test_a_client_that_leaves_is_a_cancelled_run() -> None:
    async with aclosing(observed("left", answer(*ANSWER))) as events:
        await anext(events)
        await anext(events)
    assert value("runs_total", model="left", reason="CANCELLED") == 1
    assert value("runs_total", model="left", reason="STOP") == 0


SPOKEN = RunUsage(completion_tokens=20, turns=1)
CALL = ToolCall("call-1", "calculator", "{}")
CALLS = (CallResult(CALL, "391", None, 0.1), CallResult(CALL, "", EngineFailed("m").to_status(), 0.1))


async def test_what_guardrails_judge_is_counted_of_every_run() -> None:
    run = (ANSWER[0], ContentDelta("Hi"), SPOKEN, *CALLS, Finished(FinishReason.STOP))
    assert [event async for event in observed("judged", answer(*run))] == list(run)
    assert value("tokens_per_second_count", model="judged") == 1
    assert value("tokens_per_second_sum", model="judged") > 0
    assert [value("tool_calls_total", model="judged", state=state) for state in ("ok", "failed")] == [1, 1]


@pytest.mark.parametrize("reason", [FinishReason.CANCELLED, FinishReason.BUDGET])
async def test_a_run_that_ended_from_outside_is_not_judged(reason: FinishReason) -> None:
    run = (ANSWER[0], ContentDelta("Hi"), SPOKEN, *CALLS, Finished(reason))
    assert [event async for event in observed(reason.name, answer(*run))] == list(run)
    assert value("runs_total", model=reason.name, reason=reason.name) == 1
    assert value("tokens_per_second_count", model=reason.name) == 0
    assert value("tool_calls_total", model=reason.name, state="ok") == 0


async def test_how_soon_an_ended_run_lets_go_is_measured() -> None:
    before = value("release_seconds_count", reason="REVOKED")
    run = Run("r", OWNER, limit())
    async with run.reading(answer(*ANSWER)) as events:
        await anext(events)
        run.end(FinishReason.REVOKED)
    assert value("release_seconds_count", reason="REVOKED") == before + 1


async def test_a_run_that_ends_by_itself_is_not_measured_as_let_go() -> None:
    before = value("release_seconds_count", reason="STOP")
    run = Run("r", OWNER, limit())
    async with run.reading(answer(*ANSWER)) as events:
        assert [event async for event in events]
    assert value("release_seconds_count", reason="STOP") == before
