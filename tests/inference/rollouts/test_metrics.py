"""What metrics tell of rollouts: by the part that a variant plays, never by its name."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.inference.engine.turn import ToolCall
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.metrics import Part, count
from services.inference.rollouts.samples import Sample
from tests.conftest import TokenMaker
from tests.inference.conftest import Replica, ToolsProcess
from tests.inference.rollouts.conftest import ALIAS, creation, variant
from tests.inference.rollouts.test_shadows import until
from tests.inference.scripted import ScriptedEngine, calls, says
from tests.inference.test_servicer import chat, read, with_tools


def told(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"parley_inference_{name}", labels) or 0


@pytest.mark.parametrize(("stable", "part"), [("plain", "stable"), ("other", "candidate")])
async def test_a_run_counts_by_the_part_of_its_variant(
    replica: Replica,
    library: RolloutLibrary,
    tokens: TokenMaker,
    tools_process: ToolsProcess,
    stable: str,
    part: str,
) -> None:
    operator = tokens.metadata("*")
    runs, tool_calls = (
        told(f"rollout_{what}_total", part=part, outcome="ok") for what in ("runs", "tool_calls")
    )
    spoken = told("rollout_first_token_seconds_count", part=part)
    given = creation(variant("plain", 100), variant("other", 0), stable_variant_name=stable)
    engine = ScriptedEngine(calls(ToolCall("call-1", "calculator", "{}")), says("An answer."))
    async with replica(engine, rollouts=library) as process:
        await process.rollouts.CreateRollout(given, metadata=operator)
        assert told("rollouts_running") == 1
        await read(process.stub.Chat(with_tools(model=ALIAS), metadata=operator))
    assert told("rollout_runs_total", part=part, outcome="ok") == runs + 1
    assert told("rollout_tool_calls_total", part=part, outcome="ok") == tool_calls + 1
    assert told("rollout_first_token_seconds_count", part=part) == spoken + 1


async def test_a_shadow_counts_as_one(replica: Replica, library: RolloutLibrary, operator: Any) -> None:
    def shadows() -> float:
        return told("rollout_runs_total", part="shadow", outcome="ok")

    async def is_counted() -> bool:
        return shadows() == before + 1

    before = shadows()
    given = creation(variant("plain", 100), variant("shadow", 0, shadow_percent=100))
    async with replica(ScriptedEngine(says("1"), says("2")), rollouts=library) as process:
        await process.rollouts.CreateRollout(given, metadata=operator)
        await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
        await until(is_counted)


def test_failures_are_told_beside_what_went_well() -> None:
    before = [told("rollout_runs_total", part="stable", outcome=outcome) for outcome in ("ok", "failed")]
    count(Part.STABLE, Sample(failed=True))
    count(Part.STABLE, Sample(failed=False))
    after = [told("rollout_runs_total", part="stable", outcome=outcome) for outcome in ("ok", "failed")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]
