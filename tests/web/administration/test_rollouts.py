from __future__ import annotations

import pytest

from parley.inference.v1 import rollout_service_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth
from web.administration.rollouts import RolloutsRoom


async def test_variants_stand_beside_each_other_with_ranges_and_the_last_hour(visit: Visit) -> None:
    room = RolloutsRoom(visit("*"))
    shown = await text(room)
    assert "Rolled back by itself: brief had error rate 0.25, limit 0.1, of 60 samples." in shown
    assert "25.0 % (12.5 % to 50.0 %)" in shown
    assert "worse" in shown
    drawn = await html(room)
    assert 'aria-label="Runs by minute, 600 in all"' in drawn
    assert 'aria-label="Failed runs by minute, 42 in all"' in drawn


async def test_a_variant_is_promoted_after_a_question(visit: Visit, auth: ScriptedAuth) -> None:
    room = RolloutsRoom(visit("*"))
    assert 'data-confirm="Promote brief?"' in await html(room)
    shown = await text(room, "promote", name="assistant", variant="brief")
    assert "Everybody is given brief now." in shown
    request = auth.last(rollout_service_pb2.PromoteRolloutRequest)
    assert (request.name, request.variant_name) == ("assistant", "brief")


async def test_an_alias_is_deleted(visit: Visit) -> None:
    shown = await text(RolloutsRoom(visit("*")), "delete", name="assistant")
    assert "assistant stands for nothing any more." in shown
    assert "There are no rollouts yet" in shown


FORM = {
    "name": "helper",
    "stable_model": "parley-demo",
    "candidate_name": "candidate",
    "candidate_model": "large",
    "instructions": "Answer in one sentence.",
    "callers": "25",
    "in_the_shadow": "0",
}


async def test_a_rollout_is_begun_and_shown(visit: Visit, auth: ScriptedAuth) -> None:
    room = RolloutsRoom(visit("*"))
    assert 'value="parley-demo"' in await html(room, "new")
    shown = await text(room, "create", **FORM, error_rate="5", first_token_p95="1.5", min_samples="20")
    assert "helper can be asked for like a model now." in shown
    assert "helper: running" in shown
    request = auth.last(rollout_service_pb2.CreateRolloutRequest)
    stable, candidate = request.variants
    assert (stable.name, stable.model, stable.weight) == ("stable", "parley-demo", 75)
    assert (candidate.name, candidate.model, candidate.weight) == ("candidate", "large", 25)
    assert candidate.system_prompt == "Answer in one sentence."
    held = request.guardrails
    assert held.max_error_rate == pytest.approx(0.05)
    assert (held.max_first_token_p95.ToMilliseconds(), held.min_samples) == (1500, 20)
    assert not held.HasField("min_tokens_per_second")
    assert not held.HasField("max_thumbs_down_rate")


async def test_a_candidate_in_the_shadow_has_no_callers(visit: Visit, auth: ScriptedAuth) -> None:
    await text(RolloutsRoom(visit("*")), "create", **{**FORM, "callers": "0", "in_the_shadow": "30"})
    stable, candidate = auth.last(rollout_service_pb2.CreateRolloutRequest).variants
    assert (stable.weight, candidate.weight, candidate.shadow_percent) == (100, 0, 30)


async def test_what_is_no_share_is_refused_and_stays_in_the_form(visit: Visit, auth: ScriptedAuth) -> None:
    room = RolloutsRoom(visit("*"))
    await html(room, "new")
    drawn = await html(room, "create", **{**FORM, "callers": "101"})
    assert "must be at most 100" in drawn
    assert 'value="helper"' in drawn
    assert [each.rollout.name for each in auth.rollouts] == ["assistant"]


async def test_who_may_only_read_begins_none(visit: Visit) -> None:
    assert "New rollout" not in await html(RolloutsRoom(visit("inference.rollouts.read")))
