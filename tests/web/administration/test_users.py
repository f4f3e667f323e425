from __future__ import annotations

from parley.auth.v1 import session_service_pb2, user_service_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import NOW, ONE_TIME_PASSWORD, ScriptedAuth, ulid
from web.administration.users import UsersRoom

GRACE = ulid(2)


async def test_users_are_listed_with_kind_roles_and_state(visit: Visit) -> None:
    shown = await text(UsersRoom(visit("auth.users.read")))
    assert "grace Grace Hopper Person operator user active" in shown
    assert "nightly-report Service account reporting active" in shown
    assert "mallory Mallory Person viewer disabled" in shown
    assert "active one-time password" in shown


async def test_the_filter_is_the_platform_s(visit: Visit, auth: ScriptedAuth) -> None:
    room = UsersRoom(visit("*"))
    await html(room, "filter", username_prefix="g", role="user", kind="person", state="active")
    assert auth.last(user_service_pb2.ListUsersRequest) == user_service_pb2.ListUsersRequest(
        page_size=20,
        username_prefix="g",
        role="user",
        kind=user_service_pb2.USER_KIND_PERSON,
        state=user_service_pb2.USER_STATE_ACTIVE,
    )


async def test_a_person_s_password_is_shown_in_one_answer(visit: Visit, auth: ScriptedAuth) -> None:
    room = UsersRoom(visit("*"))
    await html(room, "new")
    shown = await html(room, "create", username="edsger", display_name="E", kind="person", roles=["user"])
    assert ONE_TIME_PASSWORD in shown
    assert ONE_TIME_PASSWORD not in repr(room.notice)
    assert ONE_TIME_PASSWORD not in await html(room, "cancel")
    assert auth.last(user_service_pb2.CreateUserRequest) == user_service_pb2.CreateUserRequest(
        username="edsger", display_name="E", kind=user_service_pb2.USER_KIND_PERSON, roles=["user"]
    )


async def test_a_service_account_has_no_password_to_show(visit: Visit) -> None:
    shown = await html(UsersRoom(visit("*")), "create", username="bot", kind="service")
    assert "bot is made." in shown
    assert "a-secret" not in shown


async def test_roles_can_be_written_by_who_may_not_list_them(visit: Visit, auth: ScriptedAuth) -> None:
    room = UsersRoom(visit("auth.users.read", "auth.users.write"))
    assert 'name="more_roles"' in await html(room, "new")
    await html(room, "create", username="bot", kind="service", more_roles="viewer, user")
    assert auth.last(user_service_pb2.CreateUserRequest).roles == ["user", "viewer"]


async def test_a_change_is_based_on_what_was_seen(visit: Visit, auth: ScriptedAuth) -> None:
    room = UsersRoom(visit("*"))
    shown = await html(room, "change", id=GRACE)
    assert 'value="operator" checked' in shown
    await html(room, "update", id=GRACE, display_name="Rear Admiral", roles=["user"], etag="e2")
    request = auth.last(user_service_pb2.UpdateUserRequest)
    assert request.user == user_service_pb2.User(
        user_id=GRACE, display_name="Rear Admiral", roles=["user"], etag="e2"
    )
    assert list(request.update_mask.paths) == ["display_name", "roles"]


async def test_users_are_shut_out_and_let_in(visit: Visit, auth: ScriptedAuth) -> None:
    room = UsersRoom(visit("*"))
    assert "grace is shut out." in await text(room, "disable", id=GRACE)
    assert auth.users[1].disable_time == NOW
    assert "grace is let in again." in await text(room, "enable", id=GRACE)


async def test_a_password_is_reset(visit: Visit, auth: ScriptedAuth) -> None:
    shown = await text(UsersRoom(visit("*")), "reset", id=GRACE, name="grace")
    assert "The old password of grace is over." in shown
    assert ONE_TIME_PASSWORD in shown
    assert auth.last(user_service_pb2.ResetPasswordRequest).user_id == GRACE


async def test_what_cannot_be_undone_asks_first(visit: Visit) -> None:
    shown = await html(UsersRoom(visit("*")))
    assert shown.count('data-confirm="Disable grace?"') == 1
    assert shown.count('data-confirm="Reset the password of grace?"') == 1


async def test_sessions_end(visit: Visit, auth: ScriptedAuth) -> None:
    assert "2 sessions of grace have ended." in await text(
        UsersRoom(visit("*")), "end_sessions", id=GRACE, name="grace"
    )
    assert auth.last(session_service_pb2.EndSessionsRequest).user_id == GRACE
