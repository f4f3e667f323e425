"""Sessions listed and ended, through the real server, on both databases."""

from __future__ import annotations

import grpc
import pytest
from ulid import ULID

from tests.auth.conftest import Auth, reason, token_of


async def over(auth: Auth, refresh_token: str) -> bool:
    """Whether a session has ended."""
    try:
        await auth.refresh(refresh_token)
    except grpc.aio.AioRpcError:
        return True
    return False


async def test_logout_ends_the_session_and_no_other(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    one, other = await auth.login("ada"), await auth.login("ada")
    await auth.ask("SessionService.Logout", one.access_token)
    assert [await over(auth, pair.refresh_token) for pair in (one, other)] == [True, False]


async def test_a_key_has_no_session_to_log_out_of(auth: Auth) -> None:
    key = await auth.create_key(await auth.token("ada", "user"))
    token = token_of(await auth.check(key.secret))
    assert await auth.refused("SessionService.Logout", token) == "SESSION_REQUIRED"
    assert (await auth.who(token)).session_id == ""


async def test_sessions_are_listed_with_where_they_came_from(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    first = await auth.login("ada", address="192.0.2.9")
    await auth.refresh(first.refresh_token)
    ended = await auth.login("ada")
    await auth.ask("SessionService.Logout", ended.access_token)
    mine = (await auth.login("ada", address="2001:db8::1")).access_token
    listed = (await auth.ask("SessionService.ListSessions", mine)).sessions
    assert [(found.address, found.current) for found in listed] == [
        ("2001:db8::1", True),
        ("192.0.2.9", False),
    ]
    assert listed[0].session_id == (await auth.who(mine)).session_id
    page = await auth.ask("SessionService.ListSessions", mine, page_size=1)
    rest = await auth.ask("SessionService.ListSessions", mine, page_size=1, page_token=page.next_page_token)
    assert [*page.sessions, *rest.sessions] == list(listed)


async def test_one_ends_another_session_of_ones_own(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    other, mine = await auth.login("ada"), await auth.login("ada")
    ends = {"session_id": (await auth.who(other.access_token)).session_id}
    await auth.ask("SessionService.EndSession", mine.access_token, **ends)
    assert await over(auth, other.refresh_token)
    assert await auth.refused("SessionService.EndSession", mine.access_token, **ends) == "SESSION_NOT_FOUND"


async def test_one_ends_all_sessions_of_ones_own(auth: Auth) -> None:
    await auth.add_user("ada", "user")
    pairs = [await auth.login("ada") for _ in range(3)]
    answer = await auth.ask("SessionService.EndSessions", pairs[0].access_token)
    assert answer.ended_sessions == 3
    assert all([await over(auth, pair.refresh_token) for pair in pairs])


async def test_an_administrator_sees_and_ends_sessions_of_the_tenant(auth: Auth) -> None:
    admin = await auth.root_token()
    ada = await auth.add_user("ada", "user", tenant=(await auth.who(admin)).tenant_id)
    pair, second = await auth.login("ada"), await auth.login("ada")
    listed = await auth.ask("SessionService.ListSessions", admin, user_id=ada.user_id)
    assert len(listed.sessions) == 2
    await auth.ask("SessionService.EndSession", admin, session_id=listed.sessions[0].session_id)
    assert [await over(auth, found.refresh_token) for found in (second, pair)] == [True, False]
    assert (await auth.ask("SessionService.EndSessions", admin, user_id=ada.user_id)).ended_sessions == 1


async def test_ordinary_people_have_no_say_over_others(auth: Auth) -> None:
    admin = await auth.root_token()
    boss = await auth.who(admin)
    bob = await auth.token("bob", "user", tenant=boss.tenant_id)
    for method in ("ListSessions", "EndSessions"):
        told = await auth.refused(f"SessionService.{method}", bob, user_id=boss.user_id)
        assert told == "PERMISSION_MISSING"
    told = await auth.refused("SessionService.EndSession", bob, session_id=boss.session_id)
    assert told == "SESSION_NOT_FOUND"
    assert (await auth.who(admin)).username == "admin"


async def test_who_may_end_sessions_does_not_end_those_of_the_mightier(auth: Auth) -> None:
    admin = await auth.root_token()
    boss = await auth.who(admin)
    role = {"name": "guard", "permissions": ["auth.sessions.write"]}
    await auth.ask("RoleService.CreateRole", admin, role=role)
    guard = await auth.token("gus", "guard", tenant=boss.tenant_id)
    for method, fields in (
        ("EndSession", {"session_id": boss.session_id}),
        ("EndSessions", {"user_id": boss.user_id}),
    ):
        assert await auth.refused(f"SessionService.{method}", guard, **fields) == "GRANT_EXCEEDS_CALLER"


async def test_a_session_of_another_tenant_is_not_found(auth: Auth) -> None:
    admin = await auth.root_token()
    stranger = await auth.token("stranger", "user")
    for session_id in ((await auth.who(stranger)).session_id, str(ULID())):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await auth.ask("SessionService.EndSession", admin, session_id=session_id)
        assert reason(caught) == "SESSION_NOT_FOUND"
    assert (await auth.who(stranger)).username == "stranger"
