"""What every room does alike."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from parley.auth.v1.user_service_pb2 import User
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth, ulid
from tests.web.scripted_edge import status
from tests.web.scripts import HOSTILE
from tests.web.test_markup import Reader
from tests.web.test_views import ACTING
from web.administration.fields import Fields
from web.administration.room import Room
from web.administration.rooms import ROOMS
from web.administration.users import UsersRoom

REFUSED = status(grpc.StatusCode.PERMISSION_DENIED, "You may not.", "PERMISSION_MISSING", permission="x")
ASKED_OF = {
    "usage": "QueryUsage",
    "keys": "ListKeys",
    "users": "ListUsers",
    "roles": "ListRoles",
    "quotas": "ListQuotas",
    "rollouts": "ListRollouts",
    "status": "GetStats",
    "audit": "ListAuditRecords",
}


@pytest.mark.parametrize("kind", ROOMS, ids=lambda kind: kind.name)
async def test_a_room_can_be_drawn(kind: type[Room], visit: Visit) -> None:
    assert kind.label in await text(kind(visit("*")))


@pytest.mark.parametrize("kind", ROOMS, ids=lambda kind: kind.name)
async def test_an_empty_room_says_so(kind: type[Room], visit: Visit, auth: ScriptedAuth) -> None:
    for items in (auth.users, auth.keys, auth.roles, auth.quotas, auth.records, auth.sums, auth.rollouts):
        items.clear()
    auth.models.clear()
    auth.stats.Clear()
    shown = await html(kind(visit("*")))
    assert 'class="a-empty"' in shown
    assert "a-pager" not in shown


@pytest.mark.parametrize("kind", ROOMS, ids=lambda kind: kind.name)
async def test_a_refusal_is_told_with_its_reason_and_what_to_do(
    kind: type[Room], visit: Visit, auth: ScriptedAuth
) -> None:
    auth.refusals[ASKED_OF[kind.name]] = REFUSED
    room = kind(visit("*"))
    shown = await html(room)
    assert 'role="alert"' in shown
    assert "PERMISSION_MISSING" in shown
    assert "Ask an administrator" in shown
    assert "a-empty" not in shown
    assert room.trouble is not None
    assert room.trouble.reason == "PERMISSION_MISSING"


@pytest.mark.parametrize("kind", ROOMS, ids=lambda kind: kind.name)
async def test_what_a_room_cannot_do_changes_nothing(
    kind: type[Room], visit: Visit, auth: ScriptedAuth
) -> None:
    assert "The page cannot do that." in await text(kind(visit("*")), "explode")
    assert {type(request).__name__[:4] for request in auth.requests} <= {
        "List",
        "Quer",
        "GetU",
        "GetT",
        "GetQ",
        "GetM",
        "GetS",
        "Comp",
    }


@pytest.mark.parametrize("kind", ROOMS, ids=lambda kind: kind.name)
async def test_a_reader_is_offered_no_change(kind: type[Room], visit: Visit) -> None:
    rooms = ("users", "roles", "quotas", "usage", "audit")
    read = ("inference.rollouts.read", *(f"auth.{room}.read" for room in rooms))
    shown = Reader(await html(kind(visit(*read))))
    offered = {value for name, value in shown.attributes if name == "data-act"}
    own = {"new", "follow", "revoke"} if kind.name == "keys" else set()
    assert offered <= {"filter", "next", "previous", "verify"} | own


async def test_nothing_that_was_typed_becomes_markup(visit: Visit, auth: ScriptedAuth) -> None:
    for user in auth.users:
        user.username = user.display_name = user.roles[0] = HOSTILE
    for key in auth.keys:
        key.name = key.prefix = HOSTILE
        key.scopes[:] = key.allowed_addresses[:] = [HOSTILE]
    for role in auth.roles:
        role.name = role.description = role.permissions[0] = HOSTILE
    auth.quotas[0].subject.model = HOSTILE
    for variant in (auth.rollouts[0].rollout.variants[0], auth.rollouts[0].rollout.variants[1]):
        variant.name = variant.model = HOSTILE
    auth.rollouts[0].variants[0].variant_name = HOSTILE
    auth.models[0].model.name = auth.models[0].replicas[0].replica_id = auth.stats.tools[0].tool = HOSTILE
    for sum_ in auth.sums:
        sum_.model = HOSTILE
    for record in auth.records:
        record.event.method = record.event.reason = record.event.request_json = HOSTILE
        record.event.resources[HOSTILE] = HOSTILE
    for kind in ROOMS:
        tags = Reader(await html(kind(visit("*")))).tags
        assert not tags & (ACTING - {"form", "input", "svg"}), kind.name


async def test_every_answer_differs_from_the_one_before(visit: Visit) -> None:
    room = UsersRoom(visit("*"))
    assert await room.enter() != await room.enter()


async def test_a_form_that_was_refused_keeps_what_was_typed(visit: Visit, auth: ScriptedAuth) -> None:
    taken = status(grpc.StatusCode.ALREADY_EXISTS, "The name is taken.", "NAME_TAKEN", name="ada")
    auth.refusals["CreateUser"] = taken
    room = UsersRoom(visit("*"))
    await room.act("new", Fields())
    shown = await html(room, "create", username="ada", kind="service", roles=["viewer"])
    assert "The name is taken." in shown
    assert 'value="ada"' in shown
    assert 'value="service" checked' in shown
    assert 'value="viewer" checked' in shown
    assert 'value="user" checked' not in shown
    del auth.refusals["CreateUser"]
    assert "a-form" not in await html(room, "create", username="ada2", kind="service")


async def test_another_action_closes_the_form(visit: Visit) -> None:
    room = UsersRoom(visit("*"))
    assert "a-form" in await html(room, "new")
    assert "a-form" not in await html(room, "next")
    assert "a-form" in await html(room, "new")
    assert "a-form" not in await html(room)


async def test_a_long_list_is_turned_page_by_page(visit: Visit, auth: ScriptedAuth) -> None:
    auth.users = [User(user_id=ulid(n), username=f"u{n:02d}") for n in range(1, 46)]
    room = UsersRoom(visit("*"))
    assert "u20" in await text(room)
    second = await text(room, "next")
    assert "u21" in second
    assert "Page 2" in second
    third = await html(room, "next")
    assert "u45" in third
    assert 'data-act="next" disabled' in third
    assert "u45" in await text(room, "next")
    assert "u21" in await text(room, "previous")
    narrowed = await text(room, "filter", username_prefix="u4")
    assert "u40" in narrowed
    assert "Page" not in narrowed
    assert "u40" in await text(room, "previous")


async def test_actions_of_one_tab_happen_one_after_the_other(visit: Visit, auth: ScriptedAuth) -> None:
    room = UsersRoom(visit("*"))
    await asyncio.gather(*(html(room, "create", username=f"new{n}", kind="service") for n in range(5)))
    made = [type(request).__name__ for request in auth.requests]
    assert made == ["CreateUserRequest", "ListUsersRequest"] * 5
