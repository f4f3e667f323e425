from __future__ import annotations

from collections.abc import Callable

import pytest

from parley.inference.v1 import inference_service_pb2, model_pb2
from parley.tools.v1 import stats_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth
from web.administration.status import MOST_MODELS, MOST_TOOLS, SERVICES, StatusRoom
from web.administration.status_figures import MAX_SAMPLES, Recent


def tool(calls: int, failed: int = 0) -> list[stats_pb2.ToolStats]:
    errors = [stats_pb2.ReasonCount(reason="TOOL_TIMEOUT", calls=failed)] if failed else []
    return [stats_pb2.ToolStats(tool="t", stats=stats_pb2.CallStats(calls=calls, errors=errors))]


async def test_services_replicas_and_tools_stand_with_their_figures(visit: Visit, auth: ScriptedAuth) -> None:
    auth.ill.add(SERVICES["Tools"])
    shown = await text(StatusRoom(visit("*")))
    assert "Identity serving Tools not serving Inference serving" in shown
    assert "parley-demo" in shown
    assert "48 of 64 3 62 % 81.5 % 2" in shown
    assert "0 of 64 0 0 % - 0" in shown
    assert "gpt-oss-20b 9g4003 loading" in shown
    assert "assistant" not in shown
    assert "2 running, 1 waiting" in shown
    assert "python_run 56 12.5 % TOOL_TIMEOUT 1.4 s 1.4 s" in shown
    assert shown.index("calculator") < shown.index("python_run")


async def test_what_answers_is_shown_beside_what_does_not(visit: Visit, auth: ScriptedAuth) -> None:
    auth.models.clear()
    auth.models.append(
        inference_service_pb2.GetModelResponse(
            model=model_pb2.Model(name="x", state=model_pb2.MODEL_STATE_FAILED)
        )
    )
    shown = await text(StatusRoom(visit("*")))
    assert "x - coming back no replica tells more" in shown
    assert "calculator" in shown


async def test_failed_calls_are_told_of_the_time_that_somebody_looked(
    visit: Visit, auth: ScriptedAuth
) -> None:
    now = iter((0.0, 4.0))
    room = StatusRoom(visit("*"), clock=lambda: next(now))
    assert "in the last" not in await text(room)
    auth.stats.tools[1].stats.calls += 8
    auth.stats.tools[1].stats.errors[0].calls += 2
    assert "8 calls in the last 4.0 s, 25.0 % failed" in await text(room, "refresh")


async def test_a_look_is_bounded(visit: Visit, auth: ScriptedAuth) -> None:
    ready = model_pb2.MODEL_STATE_READY
    auth.models[:] = [
        inference_service_pb2.GetModelResponse(model=model_pb2.Model(name=f"m{n:02d}", state=ready))
        for n in range(MOST_MODELS + 3)
    ]
    del auth.stats.tools[:]
    auth.stats.tools.extend(
        stats_pb2.ToolStats(tool=f"t{n:02d}", stats=stats_pb2.CallStats(calls=n))
        for n in range(MOST_TOOLS + 3)
    )
    shown = await text(StatusRoom(visit("*")))
    assert "3 more models are not shown." in shown
    assert "t14" in shown
    assert "t02" not in shown
    asked = [r for r in auth.requests if isinstance(r, inference_service_pb2.GetModelRequest)]
    assert len(asked) == MOST_MODELS


async def test_the_room_asks_to_be_mended_and_looked_at_again(visit: Visit) -> None:
    shown = await html(StatusRoom(visit("*")))
    assert "data-mend" in shown
    assert 'data-live="4"' in shown


@pytest.mark.parametrize("permission", ["inference.models", "auth.*"])
def test_it_is_for_operators(permission: str, visit: Callable[..., object]) -> None:
    assert not StatusRoom.lets_in(visit(permission))  # type: ignore[arg-type]
    assert StatusRoom.lets_in(visit("tools.*"))  # type: ignore[arg-type]


def test_counters_that_begin_anew_and_old_readings_are_forgotten() -> None:
    recent = Recent()
    recent.read(0, tool(10, 5))
    recent.read(10, tool(3))
    assert recent.words == ""
    recent.read(20, tool(4))
    assert recent.words == "1 calls in the last 10.0 s, 0.0 % failed"
    recent.read(600, tool(9, 1))
    assert recent.words == ""
    for at in range(2 * MAX_SAMPLES):
        recent.read(600 + at / 1000, tool(9, 1))
    assert recent.words.startswith("0 calls")
