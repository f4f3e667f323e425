"""Keys of service accounts and of the tenant, bound to addresses, rotated; on both databases."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from parley.auth.v1 import user_service_pb2
from services.rpc.errors import error_info
from tests.auth.conftest import Auth, token_of


@pytest.fixture
async def admin(auth: Auth) -> str:
    """The token of the root tenant's administrator."""
    return await auth.root_token()


async def robot(auth: Auth, admin: str, *roles: str, name: str = "robot") -> str:
    """A service account's id."""
    made = await auth.ask(
        "UserService.CreateUser",
        admin,
        username=name,
        roles=roles or ("user",),
        kind=user_service_pb2.USER_KIND_SERVICE,
    )
    return str(made.user.user_id)


async def clerk(auth: Auth, admin: str, *permissions: str) -> str:
    """The token of someone of the root tenant who may do this."""
    role = {"name": "clerk", "permissions": ["auth.keys", *permissions]}
    await auth.ask("RoleService.CreateRole", admin, role=role)
    return await auth.token("clara", "clerk", tenant=(await auth.who(admin)).tenant_id)


async def outcome(auth: Auth, secret: str, address: str = "192.0.2.1") -> str:
    """What Envoy is told of a key: OK or the reason why not."""
    answer = await auth.check(secret, address)
    info = error_info(answer.status)
    return info.reason if info is not None else "OK"


async def test_a_service_account_acts_by_its_keys(auth: Auth, admin: str) -> None:
    owner = await robot(auth, admin)
    made = await auth.create_key(admin, user_id=owner, scopes=["tools.list"])
    who = await auth.who(token_of(await auth.check(made.secret)))
    assert (who.user_id, list(who.permissions)) == (owner, ["tools.list"])
    assert [key.key_id for key in (await auth.list_keys(admin, user_id=owner)).keys] == [made.key.key_id]


async def test_nobody_makes_keys_for_another_person(auth: Auth, admin: str) -> None:
    ada = await auth.add_user("ada", "user", tenant=(await auth.who(admin)).tenant_id)
    assert await auth.refused("KeyService.CreateKey", admin, name="k", user_id=ada.user_id) == (
        "KEY_OWNER_NOT_SERVICE"
    )
    theirs = await auth.create_key((await auth.login("ada")).access_token)
    assert await auth.refused("KeyService.RotateKey", admin, key_id=theirs.key.key_id) == (
        "KEY_OWNER_NOT_SERVICE"
    )


async def test_keys_for_others_take_the_permission_and_never_give_more(auth: Auth, admin: str) -> None:
    mighty, weak = await robot(auth, admin, "admin", name="mighty"), await robot(auth, admin, "viewer")
    ordinary = await auth.token("bob", "user", tenant=(await auth.who(admin)).tenant_id)
    assert (
        await auth.refused("KeyService.CreateKey", ordinary, name="k", user_id=weak) == "PERMISSION_MISSING"
    )
    token = await clerk(auth, admin, "auth.users.write", "inference.models")
    assert await auth.refused("KeyService.CreateKey", token, name="k", user_id=mighty) == (
        "GRANT_EXCEEDS_CALLER"
    )
    assert (await auth.create_key(token, user_id=mighty, scopes=["inference.models"])).secret
    key = await auth.create_key(admin, user_id=mighty)
    for method in ("RevokeKey", "RotateKey"):
        assert (
            await auth.refused(f"KeyService.{method}", token, key_id=key.key.key_id) == "GRANT_EXCEEDS_CALLER"
        )


async def test_administrators_see_and_revoke_the_tenants_keys(auth: Auth, admin: str) -> None:
    await auth.add_user("ada", "user", tenant=(await auth.who(admin)).tenant_id)
    ada = (await auth.login("ada")).access_token
    key = await auth.create_key(ada)
    mine = await auth.create_key(admin)
    listed = (await auth.list_keys(admin, user_id="-")).keys
    assert [found.key_id for found in listed] == [mine.key.key_id, key.key.key_id]
    assert await auth.refused("KeyService.ListKeys", ada, user_id="-") == "PERMISSION_MISSING"
    assert await auth.refused("KeyService.RevokeKey", ada, key_id=mine.key.key_id) == "KEY_NOT_FOUND"
    await auth.revoke_key(admin, key.key.key_id)
    assert await outcome(auth, key.secret) == "KEY_INVALID"


async def test_keys_of_another_tenant_are_not_found(auth: Auth, admin: str) -> None:
    stranger = await auth.add_user("stranger", "admin")
    key = await auth.create_key((await auth.login("stranger")).access_token)
    for method in ("RevokeKey", "RotateKey"):
        assert await auth.refused(f"KeyService.{method}", admin, key_id=key.key.key_id) == "KEY_NOT_FOUND"
    for method in ("KeyService.ListKeys", "SessionService.ListSessions", "SessionService.EndSessions"):
        assert await auth.refused(method, admin, user_id=stranger.user_id) == "USER_NOT_FOUND"
    assert await auth.refused("KeyService.CreateKey", admin, name="k", user_id=stranger.user_id) == (
        "USER_NOT_FOUND"
    )
    assert key.key.key_id not in str(await auth.list_keys(admin, user_id="-"))
    assert await outcome(auth, key.secret) == "OK"


@pytest.mark.parametrize(
    ("allowed", "address", "told"),
    [
        (["192.0.2.0/24"], "192.0.2.77", "OK"),
        (["192.0.2.7"], "192.0.2.7", "OK"),
        (["192.0.2.7"], "::ffff:192.0.2.7", "OK"),
        (["2001:db8::/32", "192.0.2.0/24"], "2001:db8::1", "OK"),
        (["192.0.2.0/24"], "198.51.100.1", "KEY_ADDRESS_NOT_ALLOWED"),
        (["192.0.2.0/24"], "2001:db8::1", "KEY_ADDRESS_NOT_ALLOWED"),
        (["192.0.2.0/24"], "192.0.2.1, 198.51.100.1", "KEY_ADDRESS_NOT_ALLOWED"),
        (["192.0.2.0/24"], "", "KEY_ADDRESS_NOT_ALLOWED"),
        (["192.0.2.0/24"], "nowhere", "KEY_ADDRESS_NOT_ALLOWED"),
        ([], "nowhere", "OK"),
    ],
)
async def test_a_key_is_good_from_its_addresses(
    auth: Auth, admin: str, allowed: list[str], address: str, told: str
) -> None:
    made = await auth.create_key(admin, allowed_addresses=allowed)
    assert await outcome(auth, made.secret, address) == told
    if told != "OK":
        answer = await auth.check(made.secret, address)
        assert (answer.status.code, answer.denied_response.status.code) == (code_pb2.PERMISSION_DENIED, 403)


async def test_addresses_are_kept_in_one_spelling_and_nonsense_is_refused(auth: Auth, admin: str) -> None:
    made = await auth.create_key(admin, allowed_addresses=["192.0.2.7/24", "2001:DB8::0/64"])
    assert list(made.key.allowed_addresses) == ["192.0.2.0/24", "2001:db8::/64"]
    for wrong in ("localhost", "192.0.2.0/33", "192.0.2", "::/129"):
        told = await auth.refused("KeyService.CreateKey", admin, name="k", allowed_addresses=[wrong])
        assert told == "INVALID_REQUEST"


async def test_a_rotated_key_goes_on_for_the_overlap(auth: Auth, admin: str) -> None:
    old = await auth.create_key(admin, name="ci", scopes=["tools.list"], allowed_addresses=["192.0.2.0/24"])
    overlap = Duration(seconds=3600)
    answer = await auth.ask("KeyService.RotateKey", admin, key_id=old.key.key_id, overlap=overlap)
    new = answer.key
    assert (new.name, list(new.scopes), new.replaces_key_id) == ("ci", ["tools.list"], old.key.key_id)
    assert list(new.allowed_addresses) == ["192.0.2.0/24"]
    ends = answer.replaced_key.expire_time.ToDatetime() - new.create_time.ToDatetime()
    assert ends == timedelta(hours=1)
    assert [await outcome(auth, secret) for secret in (old.secret, answer.secret)] == ["OK", "OK"]
    auth.clock.advance(hours=1)
    assert await outcome(auth, old.secret) == "KEY_INVALID"


async def test_without_overlap_the_old_key_ends_at_once(auth: Auth, admin: str) -> None:
    old = await auth.create_key(admin)
    rotate = {"key_id": old.key.key_id, "overlap": Duration()}
    answer = await auth.ask("KeyService.RotateKey", admin, **rotate)
    assert answer.replaced_key.HasField("revoke_time")
    assert [await outcome(auth, secret) for secret in (old.secret, answer.secret)] == ["KEY_INVALID", "OK"]
    assert await auth.refused("KeyService.RotateKey", admin, **rotate) == "KEY_NOT_LIVE"


async def test_rotating_never_lengthens_a_keys_life(auth: Auth, admin: str) -> None:
    soon: Any = (auth.clock() + timedelta(hours=2)).replace(microsecond=0)
    old = await auth.create_key(admin, expire_time=soon)
    answer = await auth.ask("KeyService.RotateKey", admin, key_id=old.key.key_id)
    assert answer.key.expire_time == answer.replaced_key.expire_time == old.key.expire_time


async def test_the_same_rotation_makes_one_key(auth: Auth, admin: str) -> None:
    old = await auth.create_key(admin)
    rotate = {"key_id": old.key.key_id, "request_id": str(uuid.uuid4())}
    answers = await asyncio.gather(*(auth.ask("KeyService.RotateKey", admin, **rotate) for _ in range(4)))
    assert len({answer.key.key_id for answer in answers}) == 1
    assert {answer.replaced_key.key_id for answer in answers} == {old.key.key_id}
    assert len([answer for answer in answers if answer.secret]) == 1


async def test_a_narrow_key_does_not_rotate_into_a_wide_one(auth: Auth, admin: str) -> None:
    wide = await auth.create_key(admin)
    narrow = await auth.create_key(admin, scopes=["auth.keys"])
    token = token_of(await auth.check(narrow.secret))
    assert await auth.refused("KeyService.RotateKey", token, key_id=wide.key.key_id) == "GRANT_EXCEEDS_CALLER"
    assert (await auth.ask("KeyService.RotateKey", token, key_id=narrow.key.key_id)).secret
