"""Tenants: what the root tenant manages, and what the others see of it, on both databases."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from ulid import ULID

from tests.auth.conftest import Auth, reason


@pytest.fixture
async def root(auth: Auth) -> str:
    """The token of the root tenant's administrator."""
    return await auth.root_token()


async def made(auth: Auth, root: str, name: str = "Acme", admin: str = "boss", **fields: Any) -> Any:
    return await auth.ask("TenantService.CreateTenant", root, name=name, admin_username=admin, **fields)


async def admin_of(auth: Auth, answer: Any, username: str = "boss") -> str:
    """The token of a new tenant's administrator, who has chosen a password."""
    first = (await auth.login(username, answer.one_time_password)).access_token
    chosen = "the boss's own password"
    await auth.ask(
        "UserService.ChangePassword", first, current_password=answer.one_time_password, new_password=chosen
    )
    return str((await auth.login(username, chosen)).access_token)


async def test_a_new_tenant_has_an_administrator_who_rules_it_and_nothing_else(auth: Auth, root: str) -> None:
    answer = await made(auth, root)
    assert (answer.tenant.name, answer.tenant.root) == ("Acme", False)
    boss = await admin_of(auth, answer)
    who = await auth.who(boss)
    assert (who.user_id, who.tenant_id) == (answer.admin_user_id, answer.tenant.tenant_id)
    assert [user.username for user in (await auth.ask("UserService.ListUsers", boss)).users] == ["boss"]
    assert (await auth.ask("UserService.CreateUser", boss, username="clerk", roles=["admin"])).user.user_id


async def test_only_the_root_tenant_manages_tenants(auth: Auth, root: str) -> None:
    answer = await made(auth, root)
    boss, own = await admin_of(auth, answer), answer.tenant.tenant_id
    create = {"name": "Mine", "admin_username": "mine"}
    assert await auth.refused("TenantService.CreateTenant", boss, **create) == "ROOT_TENANT_ONLY"
    assert await auth.refused("TenantService.ListTenants", boss) == "ROOT_TENANT_ONLY"
    for method in ("DisableTenant", "EnableTenant"):
        assert await auth.refused(f"TenantService.{method}", boss, tenant_id=own) == "ROOT_TENANT_ONLY"
    for method in ("ListSigningKeys", "RotateSigningKey"):
        assert await auth.refused(f"SigningKeyService.{method}", boss) == "ROOT_TENANT_ONLY"


async def test_another_tenant_is_not_found(auth: Auth, root: str) -> None:
    boss = await admin_of(auth, await made(auth, root))
    other = (await made(auth, root, "Other", "other")).tenant.tenant_id
    for tenant_id in (other, (await auth.who(root)).tenant_id, str(ULID())):
        for method in ("GetTenant", "DisableTenant", "EnableTenant"):
            told = await auth.refused(f"TenantService.{method}", boss, tenant_id=tenant_id)
            assert told == "TENANT_NOT_FOUND"
        update = {"tenant": {"tenant_id": tenant_id, "name": "x"}, "update_mask": {"paths": ["name"]}}
        assert await auth.refused("TenantService.UpdateTenant", boss, **update) == "TENANT_NOT_FOUND"


async def test_a_tenant_sees_and_renames_itself(auth: Auth, root: str) -> None:
    answer = await made(auth, root)
    boss, tenant = await admin_of(auth, answer), answer.tenant
    assert (await auth.ask("TenantService.GetTenant", boss, tenant_id=tenant.tenant_id)).tenant == tenant
    wanted = {"tenant_id": tenant.tenant_id, "name": "Acme & Sons", "etag": tenant.etag}
    mask = {"paths": ["name"]}
    renamed = await auth.ask("TenantService.UpdateTenant", boss, tenant=wanted, update_mask=mask)
    assert renamed.tenant.name == "Acme & Sons"
    assert await auth.refused("TenantService.UpdateTenant", boss, tenant=wanted, update_mask=mask) == (
        "ETAG_MISMATCH"
    )


@pytest.mark.parametrize(("name", "told"), [("", "INVALID_REQUEST"), ("a\nb", "INVALID_REQUEST")])
async def test_a_tenant_is_called_something(auth: Auth, root: str, name: str, told: str) -> None:
    tenant = {"tenant_id": (await auth.who(root)).tenant_id, "name": name}
    mask = {"paths": ["name"]}
    assert await auth.refused("TenantService.UpdateTenant", root, tenant=tenant, update_mask=mask) == told
    assert await auth.refused("TenantService.CreateTenant", root, name=name, admin_username="x") == told


async def test_names_are_given_once(auth: Auth, root: str) -> None:
    tenant = (await made(auth, root)).tenant
    again = {"name": "Acme", "admin_username": "another"}
    assert await auth.refused("TenantService.CreateTenant", root, **again) == "NAME_TAKEN"
    again = {"name": "Another", "admin_username": "BOSS"}
    assert await auth.refused("TenantService.CreateTenant", root, **again) == "NAME_TAKEN"
    rename = {
        "tenant": {"tenant_id": tenant.tenant_id, "name": "default"},
        "update_mask": {"paths": ["name"]},
    }
    assert await auth.refused("TenantService.UpdateTenant", root, **rename) == "NAME_TAKEN"


async def test_the_same_request_makes_one_tenant(auth: Auth, root: str) -> None:
    request_id = str(uuid.uuid4())
    first = await made(auth, root, request_id=request_id)
    again = await made(auth, root, request_id=request_id)
    assert (again.tenant, again.admin_user_id) == (first.tenant, first.admin_user_id)
    assert (bool(first.one_time_password), again.one_time_password) == (True, "")


async def test_whoever_is_no_administrator_cannot_make_one_elsewhere(auth: Auth, root: str) -> None:
    key = await auth.create_key(root, scopes=["auth.tenants.write"])
    by_key = (await auth.check(key.secret)).ok_response.headers[0].header.value.removeprefix("Bearer ")
    create = {"name": "Acme", "admin_username": "boss"}
    assert await auth.refused("TenantService.CreateTenant", by_key, **create) == "GRANT_EXCEEDS_CALLER"


async def test_a_disabled_tenant_is_out_and_can_be_let_in_again(auth: Auth, root: str) -> None:
    answer = await made(auth, root)
    await admin_of(auth, answer)
    pair = await auth.login("boss", "the boss's own password")
    tenant_id = answer.tenant.tenant_id
    first = await auth.ask("TenantService.DisableTenant", root, tenant_id=tenant_id)
    again = await auth.ask("TenantService.DisableTenant", root, tenant_id=tenant_id)
    assert first.tenant == again.tenant
    for attempt in (auth.login("boss", "the boss's own password"), auth.refresh(pair.refresh_token)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await attempt
        assert reason(caught) in ("CREDENTIALS_INVALID", "REFRESH_TOKEN_INVALID")
    await auth.ask("TenantService.EnableTenant", root, tenant_id=tenant_id)
    assert (await auth.refresh(pair.refresh_token)).access_token


async def test_the_root_tenant_stays(auth: Auth, root: str) -> None:
    own = (await auth.who(root)).tenant_id
    assert await auth.refused("TenantService.DisableTenant", root, tenant_id=own) == "ROOT_TENANT_PROTECTED"


async def test_tenants_are_listed_newest_first_in_pages(auth: Auth, root: str) -> None:
    await made(auth, root)
    await made(auth, root, "Other", "other")
    first = await auth.ask("TenantService.ListTenants", root, page_size=2)
    rest = await auth.ask("TenantService.ListTenants", root, page_size=2, page_token=first.next_page_token)
    assert [tenant.name for tenant in (*first.tenants, *rest.tenants)] == ["Other", "Acme", "default"]
    assert (rest.tenants[0].root, rest.next_page_token) == (True, "")


async def test_signing_keys_rotate_with_an_overlap(auth: Auth, root: str) -> None:
    before = (await auth.ask("SigningKeyService.ListSigningKeys", root)).signing_keys
    new = (await auth.ask("SigningKeyService.RotateSigningKey", root)).signing_key
    after = (await auth.ask("SigningKeyService.ListSigningKeys", root)).signing_keys
    published = [key.kid for key in (await auth.ask("SessionService.GetJwks", root)).keys]
    assert [key.kid for key in after] == [before[0].kid, new.kid]
    assert [key.in_use for key in after] == [True, False]
    assert sorted(published) == sorted(key.kid for key in after)
    assert (await auth.who(root)).username == "admin"
    assert (await auth.ask("SigningKeyService.RotateSigningKey", root)).signing_key == new


async def test_a_key_is_published_as_long_as_the_token_of_a_run_may_live(auth: Auth) -> None:
    """Longer than any caller's own: an hour, by the settings' defaults."""
    root = await auth.root_token()
    (old,) = (await auth.ask("SigningKeyService.ListSigningKeys", root)).signing_keys
    await auth.ask("SigningKeyService.RotateSigningKey", root)

    async def published() -> set[str]:
        return {key.kid for key in (await auth.ask("SessionService.GetJwks", root)).keys}

    auth.clock.advance(minutes=20 + 59)
    assert old.kid in await published()
    auth.clock.advance(minutes=2)
    assert old.kid not in await published()
