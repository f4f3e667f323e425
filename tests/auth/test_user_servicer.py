"""Users as administrators manage them, through the real server, on both databases."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import pytest
from ulid import ULID

from parley.auth.v1 import session_service_pb2
from parley.auth.v1 import user_service_pb2 as pb2
from tests.auth.conftest import PASSWORD, Auth, reason, token_of

NEW_PASSWORD = "a password of one's own"


@pytest.fixture
async def admin(auth: Auth) -> str:
    """The token of the root tenant's administrator."""
    return await auth.root_token()


async def created(auth: Auth, token: str, username: str, *roles: str, **fields: Any) -> Any:
    return await auth.ask("UserService.CreateUser", token, username=username, roles=roles, **fields)


async def roles_of(auth: Auth, token: str, user_id: str, *roles: str) -> Any:
    """Give a user these roles."""
    return await auth.ask(
        "UserService.UpdateUser",
        token,
        user={"user_id": user_id, "roles": roles},
        update_mask={"paths": ["roles"]},
    )


async def test_a_user_is_made_and_can_do_nothing_before_choosing_a_password(auth: Auth, admin: str) -> None:
    made = await created(auth, admin, "Ada", "user", display_name="Ada L.")
    assert (made.user.username, list(made.user.roles), made.user.must_change_password) == (
        "Ada",
        ["user"],
        True,
    )
    first = await auth.sessions.Login(
        session_service_pb2.LoginRequest(username="ada", password=made.one_time_password),
        metadata=(("x-parley-client-address", "192.0.2.1"),),
    )
    assert first.must_change_password
    assert list((await auth.who(first.tokens.access_token)).permissions) == []
    assert await auth.refused("KeyService.ListKeys", first.tokens.access_token) == "PERMISSION_MISSING"
    await auth.ask(
        "UserService.ChangePassword",
        first.tokens.access_token,
        current_password=made.one_time_password,
        new_password=NEW_PASSWORD,
    )
    renewed = await auth.refresh(first.tokens.refresh_token)
    assert "inference.chat" in (await auth.who(renewed.access_token)).permissions
    assert (await auth.login("ada", NEW_PASSWORD)).access_token


async def test_a_one_time_password_ends(auth: Auth, admin: str) -> None:
    made = await created(auth, admin, "ada")
    auth.clock.advance(days=3, seconds=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.login("ada", made.one_time_password)
    assert reason(caught) == "CREDENTIALS_INVALID"


async def test_a_service_account_has_no_password(auth: Auth, admin: str) -> None:
    made = await created(auth, admin, "robot", "user", kind=pb2.USER_KIND_SERVICE)
    assert (made.one_time_password, made.user.kind) == ("", pb2.USER_KIND_SERVICE)
    for guess in (" ", PASSWORD):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await auth.login("robot", guess)
        assert reason(caught) == "CREDENTIALS_INVALID"
    reset = await auth.refused("UserService.ResetPassword", admin, user_id=made.user.user_id)
    assert reset == "USER_NOT_PERSON"


async def test_the_same_request_makes_one_user(auth: Auth, admin: str) -> None:
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(
        *(created(auth, admin, "ada", "user", request_id=request_id) for _ in range(4))
    )
    assert len({answer.user.user_id for answer in answers}) == 1
    assert len([answer for answer in answers if answer.one_time_password]) == 1
    other = await auth.refused("UserService.CreateUser", admin, username="bob", request_id=request_id)
    assert other == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("name", ["ada", "ADA"])
async def test_a_name_is_given_once_over_all_tenants(auth: Auth, admin: str, name: str) -> None:
    await auth.add_user("Ada", "user")
    assert await auth.refused("UserService.CreateUser", admin, username=name) == "NAME_TAKEN"


@pytest.mark.parametrize("name", ["\u0430da", "ada\u200b", "a da", "-ada", "ada\n", "", "a" * 129])
async def test_a_name_that_could_be_mistaken_is_refused(auth: Auth, admin: str, name: str) -> None:
    assert await auth.refused("UserService.CreateUser", admin, username=name) == "INVALID_REQUEST"


async def test_display_names_stay_where_they_are_shown(auth: Auth, admin: str) -> None:
    for name in ("a\nb", "a\u202eb", "a\0b"):
        refused = await auth.refused("UserService.CreateUser", admin, username="ada", display_name=name)
        assert refused == "INVALID_REQUEST"
    made = await created(auth, admin, "ada", display_name="Àda 🦜 '; DROP TABLE users; --")
    found = await auth.ask("UserService.GetUser", admin, user_id=made.user.user_id)
    assert found.user.display_name == "Àda 🦜 '; DROP TABLE users; --"


async def test_nobody_grants_what_they_do_not_hold(auth: Auth, admin: str) -> None:
    await auth.ask(
        "RoleService.CreateRole",
        admin,
        role={"name": "clerk", "permissions": ["auth.users.read", "auth.users.write", "tools.list"]},
    )
    tenant = (await auth.who(admin)).tenant_id
    clerk = await auth.token("clara", "clerk", tenant=tenant)
    me = (await auth.who(clerk)).user_id
    boss = (await auth.who(admin)).user_id
    assert await auth.refused("UserService.CreateUser", clerk, username="eve", roles=["admin"]) == (
        "GRANT_EXCEEDS_CALLER"
    )
    escalation = {"user": {"user_id": me, "roles": ["admin", "clerk"]}, "update_mask": {"paths": ["roles"]}}
    assert await auth.refused("UserService.UpdateUser", clerk, **escalation) == "GRANT_EXCEEDS_CALLER"
    for method in ("ResetPassword", "DisableUser", "EnableUser"):
        assert await auth.refused(f"UserService.{method}", clerk, user_id=boss) == "GRANT_EXCEEDS_CALLER"
    demotion = {"user": {"user_id": boss, "roles": []}, "update_mask": {"paths": ["roles"]}}
    assert await auth.refused("UserService.UpdateUser", clerk, **demotion) == "GRANT_EXCEEDS_CALLER"
    assert (await created(auth, clerk, "colleague", "clerk")).one_time_password


async def test_a_role_that_is_not_there_is_not_given(auth: Auth, admin: str) -> None:
    refused = await auth.refused("UserService.CreateUser", admin, username="ada", roles=["no-such"])
    assert refused == "ROLE_NOT_FOUND"


async def test_the_last_admin_stays(auth: Auth, admin: str) -> None:
    me = (await auth.who(admin)).user_id
    await created(auth, admin, "robot", "admin", kind=pb2.USER_KIND_SERVICE)  # cannot log in
    demotion = {"user": {"user_id": me, "roles": ["user"]}, "update_mask": {"paths": ["roles"]}}
    assert await auth.refused("UserService.DisableUser", admin, user_id=me) == "LAST_ADMIN"
    assert await auth.refused("UserService.UpdateUser", admin, **demotion) == "LAST_ADMIN"
    other = await created(auth, admin, "second", "admin")
    assert (await auth.ask("UserService.DisableUser", admin, user_id=other.user.user_id)).user.disable_time
    assert await auth.refused("UserService.UpdateUser", admin, **demotion) == "LAST_ADMIN"
    await auth.ask("UserService.EnableUser", admin, user_id=other.user.user_id)
    assert list((await auth.ask("UserService.UpdateUser", admin, **demotion)).user.roles) == ["user"]


async def test_two_admins_who_disable_each_other_leave_one(auth: Auth, admin: str) -> None:
    tenant, me = (await auth.who(admin)).tenant_id, (await auth.who(admin)).user_id
    rival = await auth.add_user("rival", "admin", tenant=tenant)
    theirs = (await auth.login("rival")).access_token
    answers = await asyncio.gather(
        auth.ask("UserService.DisableUser", admin, user_id=rival.user_id),
        auth.ask("UserService.DisableUser", theirs, user_id=me),
        return_exceptions=True,
    )
    assert len([answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]) == 1


async def test_a_disabled_user_is_out_and_can_be_let_in_again(auth: Auth, admin: str) -> None:
    tenant = (await auth.who(admin)).tenant_id
    ada = await auth.add_user("ada", "user", tenant=tenant)
    pair = await auth.login("ada")
    key = await auth.create_key(pair.access_token)
    auth.clock.advance(milliseconds=50)
    first = await auth.ask("UserService.DisableUser", admin, user_id=ada.user_id)
    again = await auth.ask("UserService.DisableUser", admin, user_id=ada.user_id)
    assert first.user == again.user
    for attempt in (auth.login("ada"), auth.refresh(pair.refresh_token)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await attempt
        assert reason(caught) in ("CREDENTIALS_INVALID", "REFRESH_TOKEN_INVALID")
    assert (await auth.check(key.secret)).denied_response.status.code == 401
    auth.clock.advance(milliseconds=50)
    await auth.ask("UserService.EnableUser", admin, user_id=ada.user_id)
    assert (await auth.login("ada")).access_token
    auth.clock.advance(milliseconds=50)
    assert (await auth.who(token_of(await auth.check(key.secret)))).user_id == ada.user_id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.refresh(pair.refresh_token)
    assert reason(caught) == "REFRESH_TOKEN_INVALID"


async def test_a_reset_password_replaces_the_old_one_and_ends_sessions(auth: Auth, admin: str) -> None:
    tenant = (await auth.who(admin)).tenant_id
    ada = await auth.add_user("ada", "user", tenant=tenant)
    pair = await auth.login("ada")
    answer = await auth.ask("UserService.ResetPassword", admin, user_id=ada.user_id)
    for attempt in (auth.login("ada"), auth.refresh(pair.refresh_token)):
        with pytest.raises(grpc.aio.AioRpcError):
            await attempt
    assert (await auth.login("ada", answer.one_time_password)).access_token


async def test_users_are_listed_in_pages_by_what_is_asked(auth: Auth, admin: str) -> None:
    made = [(await created(auth, admin, f"user{n}", "viewer")).user for n in range(3)]
    robot = (await created(auth, admin, "robot_1", kind=pb2.USER_KIND_SERVICE)).user
    await auth.ask("UserService.DisableUser", admin, user_id=made[0].user_id)

    async def names(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            answer = await auth.ask("UserService.ListUsers", admin, page_size=2, page_token=token, **fields)
            found += [user.username for user in answer.users]
            if not (token := answer.next_page_token):
                return found

    assert await names() == ["robot_1", "user2", "user1", "user0", "admin"]
    assert await names(kind=pb2.USER_KIND_SERVICE) == [robot.username]
    assert await names(state=pb2.USER_STATE_DISABLED) == ["user0"]
    assert await names(state=pb2.USER_STATE_ACTIVE, role="viewer") == ["user2", "user1"]
    assert await names(username_prefix="ROBOT_") == ["robot_1"]
    assert await names(username_prefix="%") == []


async def test_an_update_changes_what_the_mask_names_and_nothing_else(auth: Auth, admin: str) -> None:
    user = (await created(auth, admin, "ada", "user", display_name="Ada")).user
    changed = await auth.ask(
        "UserService.UpdateUser",
        admin,
        user={"user_id": user.user_id, "display_name": "A.", "roles": []},
        update_mask={"paths": ["display_name"]},
    )
    assert (changed.user.display_name, list(changed.user.roles)) == ("A.", ["user"])
    assert changed.user.etag != user.etag


@pytest.mark.parametrize(
    "paths", [[], ["*"], ["username"], ["tenant_id"], ["kind", "roles"], ["password_hash"], ["etag"]]
)
async def test_a_mask_names_only_what_may_be_set(auth: Auth, admin: str, paths: list[str]) -> None:
    me = (await auth.who(admin)).user_id
    refused = await auth.refused(
        "UserService.UpdateUser", admin, user={"user_id": me}, update_mask={"paths": paths}
    )
    assert refused == "INVALID_REQUEST"


async def test_an_update_of_an_earlier_state_is_refused(auth: Auth, admin: str) -> None:
    user = (await created(auth, admin, "ada")).user
    await roles_of(auth, admin, user.user_id, "user")
    stale = {"user_id": user.user_id, "roles": [], "etag": user.etag}
    mask = {"paths": ["roles"]}
    assert (
        await auth.refused("UserService.UpdateUser", admin, user=stale, update_mask=mask) == "ETAG_MISMATCH"
    )


async def test_less_rights_end_the_tokens_that_had_more(auth: Auth, admin: str) -> None:
    tenant = (await auth.who(admin)).tenant_id
    ada = await auth.add_user("ada", "user", "viewer", tenant=tenant)
    pair = await auth.login("ada")
    key = await auth.create_key(pair.access_token, scopes=["tools.list"])
    auth.clock.advance(milliseconds=50)
    await roles_of(auth, admin, ada.user_id, "viewer")
    auth.clock.advance(milliseconds=50)
    renewed = await auth.refresh(pair.refresh_token)
    assert "inference.chat" not in (await auth.who(renewed.access_token)).permissions
    assert list((await auth.who(token_of(await auth.check(key.secret)))).permissions) == ["tools.list"]


@pytest.mark.parametrize(
    ("current", "new", "told"),
    [
        ("wrong", NEW_PASSWORD, "PASSWORD_WRONG"),
        (PASSWORD, "too short", "INVALID_REQUEST"),
        (PASSWORD, PASSWORD, "INVALID_REQUEST"),
        (PASSWORD, "Ada.Lovelace@Example.com", "INVALID_REQUEST"),
    ],
)
async def test_a_password_that_will_not_do_is_refused(auth: Auth, current: str, new: str, told: str) -> None:
    token = await auth.token("ada.lovelace@example.com", "viewer")
    refused = await auth.refused(
        "UserService.ChangePassword", token, current_password=current, new_password=new
    )
    assert refused == told
    assert (await auth.login("ada.lovelace@example.com")).access_token


async def test_changing_the_password_ends_the_other_sessions(auth: Auth) -> None:
    token = await auth.token("ada", "user")
    other, mine = await auth.login("ada"), await auth.login("ada")
    await auth.ask(
        "UserService.ChangePassword",
        mine.access_token,
        current_password=PASSWORD,
        new_password=NEW_PASSWORD,
    )
    assert (await auth.refresh(mine.refresh_token)).access_token
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.refresh(other.refresh_token)
    assert token


async def test_guesses_at_the_present_password_are_slowed_down(auth: Auth) -> None:
    token = await auth.token("ada", "user")
    passwords = {"current_password": "wrong", "new_password": NEW_PASSWORD}
    told = [await auth.refused("UserService.ChangePassword", token, **passwords) for _ in range(7)]
    assert told[:5] == ["PASSWORD_WRONG"] * 5
    assert told[-1] == "LOGIN_THROTTLED"


async def test_a_key_has_no_password_to_change(auth: Auth) -> None:
    key = await auth.create_key(await auth.token("ada", "user"))
    token = token_of(await auth.check(key.secret))
    refused = await auth.refused(
        "UserService.ChangePassword", token, current_password=PASSWORD, new_password=NEW_PASSWORD
    )
    assert refused == "SESSION_REQUIRED"


@pytest.mark.parametrize("method", ["GetUser", "DisableUser", "EnableUser", "ResetPassword"])
async def test_a_user_of_another_tenant_is_not_found(auth: Auth, admin: str, method: str) -> None:
    stranger = await auth.add_user("stranger", "user")
    for user_id in (stranger.user_id, str(ULID())):
        assert await auth.refused(f"UserService.{method}", admin, user_id=user_id) == "USER_NOT_FOUND"
    update = {"user": {"user_id": stranger.user_id}, "update_mask": {"paths": ["roles"]}}
    assert await auth.refused("UserService.UpdateUser", admin, **update) == "USER_NOT_FOUND"
    assert stranger.user_id not in str(await auth.ask("UserService.ListUsers", admin))
