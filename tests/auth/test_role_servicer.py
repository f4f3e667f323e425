"""Roles of a tenant beside the built-in ones, through the real server, on both databases."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest

from services.auth.roles import BUILT_IN
from tests.auth.conftest import Auth

CLERK = {"name": "clerk", "description": "Reads.", "permissions": ["tools.list", "inference.models"]}


@pytest.fixture
async def admin(auth: Auth) -> str:
    """The token of the root tenant's administrator."""
    return await auth.root_token()


async def made(auth: Auth, token: str, **fields: Any) -> Any:
    return (await auth.ask("RoleService.CreateRole", token, role={**CLERK, **fields})).role


async def changed(auth: Auth, token: str, role: dict[str, Any]) -> Any:
    """A role after its permissions were changed."""
    mask = {"paths": ["permissions"]}
    return (await auth.ask("RoleService.UpdateRole", token, role=role, update_mask=mask)).role


async def test_a_role_permits_what_it_says(auth: Auth, admin: str) -> None:
    role = await made(auth, admin)
    assert (role.built_in, list(role.permissions)) == (False, ["inference.models", "tools.list"])
    tenant = (await auth.who(admin)).tenant_id
    token = await auth.token("ada", "clerk", tenant=tenant)
    assert list((await auth.who(token)).permissions) == ["inference.models", "tools.list"]


async def test_a_role_of_another_tenant_means_nothing(auth: Auth, admin: str) -> None:
    await made(auth, admin)
    token = await auth.token("ada", "clerk")
    assert list((await auth.who(token)).permissions) == []


async def test_roles_are_listed_by_name_the_built_in_ones_among_them(auth: Auth, admin: str) -> None:
    await made(auth, admin)
    first = await auth.ask("RoleService.ListRoles", admin, page_size=2)
    rest = await auth.ask("RoleService.ListRoles", admin, page_token=first.next_page_token, page_size=9)
    found = [(role.name, role.built_in) for role in (*first.roles, *rest.roles)]
    assert found == sorted([("clerk", False), *((name, True) for name in BUILT_IN)])
    assert rest.next_page_token == ""


@pytest.mark.parametrize("name", sorted(BUILT_IN))
async def test_built_in_roles_are_read_only(auth: Auth, admin: str, name: str) -> None:
    assert (await auth.ask("RoleService.GetRole", admin, name=name)).role.built_in
    assert await auth.refused("RoleService.DeleteRole", admin, name=name) == "ROLE_BUILT_IN"
    update = {"role": {"name": name}, "update_mask": {"paths": ["permissions"]}}
    assert await auth.refused("RoleService.UpdateRole", admin, **update) == "ROLE_BUILT_IN"
    assert await auth.refused("RoleService.CreateRole", admin, role={"name": name}) == "NAME_TAKEN"


async def test_a_name_is_given_once(auth: Auth, admin: str) -> None:
    await made(auth, admin)
    assert await auth.refused("RoleService.CreateRole", admin, role=CLERK) == "NAME_TAKEN"


async def test_the_same_request_makes_one_role(auth: Auth, admin: str) -> None:
    request_id = str(uuid.uuid4())
    first = await auth.ask("RoleService.CreateRole", admin, role=CLERK, request_id=request_id)
    again = await auth.ask("RoleService.CreateRole", admin, role=CLERK, request_id=request_id)
    assert first == again


@pytest.mark.parametrize(
    "role",
    [
        {},
        {**CLERK, "name": "Clerk"},
        {**CLERK, "permissions": ["tools. list"]},
        {**CLERK, "permissions": ["*.list"]},
        {**CLERK, "description": "a\nb"},
    ],
)
async def test_a_role_that_is_none_is_refused(auth: Auth, admin: str, role: dict[str, Any]) -> None:
    assert await auth.refused("RoleService.CreateRole", admin, role=role) == "INVALID_REQUEST"


async def test_nobody_puts_into_a_role_what_they_do_not_hold(auth: Auth, admin: str) -> None:
    writer = [*CLERK["permissions"], "auth.roles.read", "auth.roles.write"]
    await made(auth, admin, name="writer", permissions=writer)
    await made(auth, admin, name="mighty", permissions=["auth.users.write"])
    tenant = (await auth.who(admin)).tenant_id
    token = await auth.token("wanda", "writer", tenant=tenant)
    mask = {"paths": ["permissions"]}
    assert await auth.refused("RoleService.CreateRole", token, role={"name": "x", "permissions": ["*"]}) == (
        "GRANT_EXCEEDS_CALLER"
    )
    own = {"name": "writer", "permissions": [*writer, "tools.*"]}
    assert await auth.refused("RoleService.UpdateRole", token, role=own, update_mask=mask) == (
        "GRANT_EXCEEDS_CALLER"
    )
    mighty = {"name": "mighty", "permissions": []}
    assert await auth.refused("RoleService.UpdateRole", token, role=mighty, update_mask=mask) == (
        "GRANT_EXCEEDS_CALLER"
    )
    assert await auth.refused("RoleService.DeleteRole", token, name="mighty") == "GRANT_EXCEEDS_CALLER"
    assert (await made(auth, token)).name == "clerk"


async def test_an_update_reaches_those_who_have_the_role(auth: Auth, admin: str) -> None:
    role = await made(auth, admin)
    await auth.add_user("ada", "clerk", tenant=(await auth.who(admin)).tenant_id)
    pair = await auth.login("ada")
    auth.clock.advance(milliseconds=50)
    narrow = await changed(auth, admin, {"name": "clerk", "permissions": ["tools.list"], "etag": role.etag})
    assert narrow.etag != role.etag
    auth.clock.advance(milliseconds=50)
    renewed = await auth.refresh(pair.refresh_token)
    assert list((await auth.who(renewed.access_token)).permissions) == ["tools.list"]
    stale = {"name": "clerk", "permissions": [], "etag": role.etag}
    mask = {"paths": ["permissions"]}
    assert (
        await auth.refused("RoleService.UpdateRole", admin, role=stale, update_mask=mask) == "ETAG_MISMATCH"
    )


async def test_a_role_goes_when_nobody_has_it(auth: Auth, admin: str) -> None:
    await made(auth, admin)
    user = await auth.ask("UserService.CreateUser", admin, username="ada", roles=["clerk"])
    assert await auth.refused("RoleService.DeleteRole", admin, name="clerk") == "ROLE_IN_USE"
    await auth.ask(
        "UserService.UpdateUser",
        admin,
        user={"user_id": user.user.user_id, "roles": []},
        update_mask={"paths": ["roles"]},
    )
    await auth.ask("RoleService.DeleteRole", admin, name="clerk")
    assert await auth.refused("RoleService.GetRole", admin, name="clerk") == "ROLE_NOT_FOUND"


async def test_a_role_of_another_tenant_is_not_found(auth: Auth, admin: str) -> None:
    await made(auth, admin)
    stranger = await auth.token("stranger", "admin")
    for method in ("GetRole", "DeleteRole"):
        assert await auth.refused(f"RoleService.{method}", stranger, name="clerk") == "ROLE_NOT_FOUND"
    update = {"role": {"name": "clerk"}, "update_mask": {"paths": ["description"]}}
    assert await auth.refused("RoleService.UpdateRole", stranger, **update) == "ROLE_NOT_FOUND"
    grant = {"username": "x", "roles": ["clerk"]}
    assert await auth.refused("UserService.CreateUser", stranger, **grant) == "ROLE_NOT_FOUND"
    assert "clerk" not in str(await auth.ask("RoleService.ListRoles", stranger))


async def test_a_page_token_is_good_for_its_owner_alone(auth: Auth, admin: str) -> None:
    token = (await auth.ask("RoleService.ListRoles", admin, page_size=1)).next_page_token
    stranger = await auth.token("stranger", "admin")
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.ask("RoleService.ListRoles", stranger, page_size=1, page_token=token)
