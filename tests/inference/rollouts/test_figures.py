"""What runs show, what that is together, and whether it is beyond a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from parley.inference.v1 import rollout_pb2
from services.inference.calling.errors import ApprovalDenied
from services.inference.engine.turn import ToolCall
from services.inference.errors import EngineFailed, MessagesInvalid
from services.inference.reading.step import ContentDelta
from services.inference.rollouts.guardrails import breach
from services.inference.rollouts.samples import Sample, sample_of, sampled
from services.inference.rollouts.tally import Tally, added, sums_of
from services.inference.runs.events import CallResult, Finished, FinishReason, RunEvent, RunUsage, Started
from services.inference.runs.turn_source import CacheState
from services.rpc.errors import DependencyUnavailable

STARTED = Started("scripted", 10)
CALL = ToolCall("call-1", "calculator", "{}")
USED = RunUsage(completion_tokens=20, turns=1)


async def seen(*events: RunEvent) -> list[Sample]:
    """What a run of these events shows."""

    async def run() -> AsyncGenerator[RunEvent, None]:
        for event in events:
            yield event
            await asyncio.sleep(0)

    samples: list[Sample] = []
    async with aclosing(sampled(run(), samples.append)) as told:
        assert [event async for event in told] == list(events)
    return samples


async def test_a_run_shows_how_soon_and_how_fast_it_spoke() -> None:
    (sample,) = await seen(STARTED, ContentDelta("Hi"), USED, Finished(FinishReason.STOP))
    assert not sample.failed
    assert sample.first_token_seconds is not None
    assert 0 < sample.first_token_seconds < 10
    assert sample.tokens_per_second is not None
    assert sample.tokens_per_second > 1


@pytest.mark.parametrize(
    "started",
    [Started("scripted", 10, cache=CacheState.HIT), Started("scripted", 10, cache=CacheState.SHARED)],
    ids=["hit", "shared"],
)
async def test_an_answer_of_the_cache_shows_nothing_of_the_engine(started: Started) -> None:
    (sample,) = await seen(started, ContentDelta("Hi"), USED, Finished(FinishReason.STOP))
    assert sample == Sample(failed=False)


async def test_a_short_answer_says_nothing_of_speed() -> None:
    used = RunUsage(completion_tokens=5, turns=1)
    (sample,) = await seen(STARTED, ContentDelta("Hi"), used, Finished(FinishReason.STOP))
    assert sample.tokens_per_second is None


async def test_calls_count_but_for_those_that_nobody_approved() -> None:
    denied = ApprovalDenied("calculator", "no").to_status()
    failed = EngineFailed("m").to_status()
    results = [CallResult(CALL, "{}", error, 0.1) for error in (None, failed, denied)]
    (sample,) = await seen(STARTED, *results, Finished(FinishReason.ERROR, failed))
    assert (sample.failed, sample.tool_calls, sample.tool_failures) == (True, 2, 1)


@pytest.mark.parametrize("reason", ["CANCELLED", "REVOKED", "BUDGET", "SLOW_READER"])
async def test_what_is_ended_from_outside_shows_nothing(reason: str) -> None:
    assert not await seen(STARTED, Finished(FinishReason[reason]))


def test_who_asked_for_what_cannot_be_is_not_held_against_the_variant() -> None:
    assert sample_of(MessagesInvalid("no")) is None
    assert sample_of(EngineFailed("m")) == sample_of(DependencyUnavailable("tools")) == Sample(failed=True)


def tally(*samples: Sample, **more: float) -> Tally:
    return Tally(added([*map(sums_of, samples), more]))


def test_sums_are_those_of_all_replicas() -> None:
    together = tally(Sample(failed=True), Sample(failed=False, tool_calls=3, tool_failures=1), up=3, down=1)
    assert (together.share("errors", "runs"), together.share("call_failures", "calls")) == (0.5, 1 / 3)
    assert together.share("down", "feedback") == 0.25
    speeds = tally(*(Sample(failed=False, tokens_per_second=speed) for speed in (10.0, 20.0, 30.0)))
    assert (speeds.moments("speed").mean, speeds.moments("speed").variance) == (20, pytest.approx(100))


@pytest.mark.parametrize("seconds", [0.0001, 0.05, 1.0, 7.0, 1000.0])
def test_the_95th_percentile_is_within_5_percent(seconds: float) -> None:
    fast = (Sample(failed=False, first_token_seconds=0.001),) * 90
    slow = (Sample(failed=False, first_token_seconds=seconds),) * 10
    known = min(max(seconds, 0.001), 640.0)
    assert tally(*fast, *slow).first_token(0.95) == pytest.approx(known, rel=0.06)


def test_of_nothing_there_are_no_figures() -> None:
    empty = Tally()
    assert (empty.first_token(0.95), empty.share("down", "feedback")) == (0, 0)
    assert (empty.moments("speed").mean, empty.moments("speed").variance) == (0, 0)


def guardrails(**given: Any) -> rollout_pb2.RolloutGuardrails:
    return rollout_pb2.RolloutGuardrails(**{"min_samples": 10, **given})


BAD: dict[str, tuple[rollout_pb2.RolloutGuardrails, Iterable[Sample], dict[str, float]]] = {
    "ERROR_RATE": (guardrails(max_error_rate=0.2), [Sample(failed=True)] * 10, {}),
    "FIRST_TOKEN_P95": (
        guardrails(max_first_token_p95=Duration(seconds=1)),
        [Sample(failed=False, first_token_seconds=2.0)] * 10,
        {},
    ),
    "TOKENS_PER_SECOND": (
        guardrails(min_tokens_per_second=50),
        [Sample(failed=False, tokens_per_second=20.0)] * 10,
        {},
    ),
    "TOOL_FAILURE_RATE": (
        guardrails(max_tool_failure_rate=0.5),
        [Sample(failed=False, tool_calls=5, tool_failures=4)] * 2,
        {},
    ),
    "THUMBS_DOWN_RATE": (guardrails(max_thumbs_down_rate=0.5), [], {"up": 2, "down": 8}),
}


@pytest.mark.parametrize("name", BAD)
def test_each_limit_is_held_with_enough_samples_and_not_before(name: str) -> None:
    given, samples, feedback = BAD[name]
    found = breach(given, "candidate", tally(*samples, **feedback))
    assert found is not None
    assert rollout_pb2.Guardrail.Name(found.guardrail) == f"GUARDRAIL_{name}"
    assert (found.variant_name, found.samples) == ("candidate", 10)
    more = rollout_pb2.RolloutGuardrails()
    more.CopyFrom(given)
    more.min_samples = 11
    assert breach(more, "candidate", tally(*samples, **feedback)) is None
    assert breach(guardrails(), "candidate", tally(*samples, **feedback)) is None


def test_what_keeps_to_its_limits_is_left_alone() -> None:
    good = Sample(
        failed=False, first_token_seconds=0.1, tokens_per_second=100.0, tool_calls=1, tool_failures=0
    )
    held = guardrails(
        max_error_rate=0.0,
        max_first_token_p95=Duration(seconds=1),
        min_tokens_per_second=50,
        max_tool_failure_rate=0.0,
        max_thumbs_down_rate=0.0,
    )
    assert breach(held, "candidate", tally(*[good] * 100, up=20)) is None
