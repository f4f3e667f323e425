from __future__ import annotations

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
