"""Rights taken that were not given: across tenants, upwards, through masks, pages and repeats."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from tests.attacks.target import NOBODY, Attack, Person, Target

USER_NOT_FOUND = (404, "USER_NOT_FOUND")
PERMISSION_MISSING = (403, "PERMISSION_MISSING")
BEYOND = (403, "GRANT_EXCEEDS_CALLER")
INVALID = (400, "INVALID_REQUEST")
PAGE_INVALID = (400, "PAGE_TOKEN_INVALID")


async def update(target: Target, person: Person, mask: str, by: Person, **fields: Any) -> httpx.Response:
    body = {"user": {"userId": person.user_id, **fields}, "updateMask": mask}
    return await target.patch(f"users/{person.user_id}", body, by.headers)


async def own_users(target: Target) -> httpx.Response:
    return await target.get("users", target.admin.headers)


async def own_user(target: Target) -> httpx.Response:
    return await target.get(f"users/{target.user.user_id}", target.admin.headers)


async def renamed(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await update(target, person, "displayName", target.admin, displayName="Ada")


async def promoted_by_an_admin(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await update(target, person, "roles", target.admin, roles=["operator"])


async def a_user_lists_users(target: Target) -> httpx.Response:
    return await target.get("users", target.user.headers)


async def another_tenants_user_read(target: Target) -> httpx.Response:
    return await target.get(f"users/{target.user.user_id}", target.rival.headers)


async def another_tenants_user_changed(target: Target) -> httpx.Response:
    return await update(target, target.user, "displayName", target.rival, displayName="Mine")


async def another_tenants_user_disabled(target: Target) -> httpx.Response:
    return await target.post(f"users/{target.user.user_id}:disable", who=target.rival.headers)


async def another_tenants_password_reset(target: Target) -> httpx.Response:
    return await target.post(f"users/{target.user.user_id}:resetPassword", who=target.rival.headers)


async def own_password_reset_by_admin(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await target.post(f"users/{person.user_id}:resetPassword", who=target.admin.headers)


async def disabled_by_admin(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await target.post(f"users/{person.user_id}:disable", who=target.admin.headers)


async def tenants_listed_by_a_tenant(target: Target) -> httpx.Response:
    return await target.get("tenants", target.rival.headers)


async def tenants_listed_by_root(target: Target) -> httpx.Response:
    return await target.get("tenants", target.admin.headers)


async def promotes_itself(target: Target) -> httpx.Response:
    return await update(target, target.user, "roles", target.user, roles=["admin"])


async def operator_promotes_itself(target: Target) -> httpx.Response:
    return await update(target, target.operator, "roles", target.operator, roles=["admin"])


async def tenant_through_the_mask(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await update(target, person, "tenantId", target.admin, tenantId=target.rival.tenant_id)


async def create_time_through_the_mask(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await update(target, person, "createTime", target.admin, createTime="2020-01-01T00:00:00Z")


async def unknown_field_in_the_mask(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await update(target, person, "passwordHash", target.admin)


async def maker(target: Target) -> Person:
    """Someone who may make users and roles, and little else."""
    name = f"maker-{uuid4().hex[:8]}"
    permissions = ["auth.users.read", "auth.users.write", "auth.roles.read", "auth.roles.write", "tools.list"]
    body = {"role": {"name": name, "permissions": permissions}}
    made = await target.post("roles", body, target.admin.headers)
    assert made.status_code == 200, made.text
    return await target.newcomer(name)


async def a_maker_makes_an_admin(target: Target) -> httpx.Response:
    body = {"username": f"puppet-{uuid4().hex[:8]}", "roles": ["admin"]}
    return await target.post("users", body, (await maker(target)).headers)


async def a_maker_makes_a_viewer_of_tools(target: Target) -> httpx.Response:
    body = {"username": f"puppet-{uuid4().hex[:8]}", "roles": []}
    return await target.post("users", body, (await maker(target)).headers)


async def a_maker_resets_an_admin(target: Target) -> httpx.Response:
    return await target.post(f"users/{target.admin.user_id}:resetPassword", who=(await maker(target)).headers)


async def role(target: Target, by: Person, *permissions: str) -> httpx.Response:
    body = {"role": {"name": f"role-{uuid4().hex[:8]}", "permissions": list(permissions)}}
    return await target.post("roles", body, by.headers)


async def a_role_beyond_its_maker(target: Target) -> httpx.Response:
    return await role(target, await maker(target), "auth.audit.read")


async def a_role_of_everything(target: Target) -> httpx.Response:
    return await role(target, await maker(target), "*")


async def a_role_within_its_maker(target: Target) -> httpx.Response:
    return await role(target, await maker(target), "tools.list")


async def built_in_role_changed(target: Target) -> httpx.Response:
    body = {"role": {"name": "viewer", "permissions": ["*"]}, "updateMask": "permissions"}
    return await target.patch("roles/viewer", body, target.admin.headers)


async def built_in_role_replaced(target: Target) -> httpx.Response:
    body = {"role": {"name": "viewer", "permissions": ["*"]}}
    return await target.post("roles", body, target.admin.headers)


async def own_role_changed(target: Target) -> httpx.Response:
    made = (await role(target, target.admin, "tools.list")).json()["role"]
    body = {
        "role": {"name": made["name"], "permissions": ["tools.list", "auth.keys"]},
        "updateMask": "permissions",
    }
    return await target.patch(f"roles/{made['name']}", body, target.admin.headers)


async def another_tenants_role_read(target: Target) -> httpx.Response:
    made = (await role(target, target.admin, "tools.list")).json()["role"]
    return await target.get(f"roles/{made['name']}", target.rival.headers)


async def own_role_read(target: Target) -> httpx.Response:
    made = (await role(target, target.admin, "tools.list")).json()["role"]
    return await target.get(f"roles/{made['name']}", target.admin.headers)


async def the_last_admin_disabled(target: Target) -> httpx.Response:
    return await target.post(f"users/{target.admin.user_id}:disable", who=target.admin.headers)


async def the_last_admin_demoted(target: Target) -> httpx.Response:
    return await update(target, target.admin, "roles", target.admin, roles=["user"])


async def the_root_tenant_disabled(target: Target) -> httpx.Response:
    return await target.post(f"tenants/{target.admin.tenant_id}:disable", who=target.admin.headers)


async def a_tenant_renamed(target: Target) -> httpx.Response:
    tenant = target.rival.tenant_id
    body = {"tenant": {"tenantId": tenant, "name": f"rival-{uuid4().hex[:6]}"}, "updateMask": "name"}
    return await target.patch(f"tenants/{tenant}", body, target.admin.headers)


async def page_token_of(target: Target, person: Person) -> str:
    answer = await target.get("keys", person.headers, params={"pageSize": 1})
    while not answer.json().get("nextPageToken"):
        await target.key(person)
        answer = await target.get("keys", person.headers, params={"pageSize": 1})
    return str(answer.json()["nextPageToken"])


async def another_users_page(target: Target) -> httpx.Response:
    token = await page_token_of(target, target.admin)
    return await target.get("keys", target.user.headers, params={"pageSize": 1, "pageToken": token})


async def a_page_of_another_query(target: Target) -> httpx.Response:
    token = await page_token_of(target, target.admin)
    return await target.get("users", target.admin.headers, params={"pageSize": 1, "pageToken": token})


async def a_page_token_changed(target: Target) -> httpx.Response:
    token = await page_token_of(target, target.admin)
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    return await target.get("keys", target.admin.headers, params={"pageSize": 1, "pageToken": changed})


async def own_next_page(target: Target) -> httpx.Response:
    token = await page_token_of(target, target.admin)
    return await target.get("keys", target.admin.headers, params={"pageSize": 1, "pageToken": token})


async def a_request_id_used_again(target: Target) -> httpx.Response:
    body = {"name": "first", "requestId": str(uuid4())}
    assert (await target.post("keys", body, target.user.headers)).status_code == 200
    return await target.post("keys", {**body, "name": "second"}, target.user.headers)


async def the_same_request_again(target: Target) -> httpx.Response:
    body = {"name": "first", "requestId": str(uuid4())}
    assert (await target.post("keys", body, target.user.headers)).status_code == 200
    return await target.post("keys", body, target.user.headers)


async def a_lost_update(target: Target) -> httpx.Response:
    person = await target.newcomer()
    read = (await target.get(f"users/{person.user_id}", target.admin.headers)).json()["user"]
    await update(target, person, "displayName", target.admin, displayName="First")
    return await update(target, person, "displayName", target.admin, displayName="Second", etag=read["etag"])


async def an_update_of_what_was_read(target: Target) -> httpx.Response:
    person = await target.newcomer()
    read = (await target.get(f"users/{person.user_id}", target.admin.headers)).json()["user"]
    return await update(target, person, "displayName", target.admin, displayName="First", etag=read["etag"])


async def nobody_read(target: Target) -> httpx.Response:
    return await target.get(f"users/{NOBODY}", target.admin.headers)


ADMINISTRATION = (
    Attack("users listed without permission", a_user_lists_users, PERMISSION_MISSING, own_users),
    Attack("a user that is not there", nobody_read, USER_NOT_FOUND, own_user),
    Attack("another tenant's user read", another_tenants_user_read, USER_NOT_FOUND, own_user),
    Attack("another tenant's user changed", another_tenants_user_changed, USER_NOT_FOUND, renamed),
    Attack(
        "another tenant's user disabled", another_tenants_user_disabled, USER_NOT_FOUND, disabled_by_admin
    ),
    Attack(
        "another tenant's password reset",
        another_tenants_password_reset,
        USER_NOT_FOUND,
        own_password_reset_by_admin,
    ),
    Attack(
        "tenants listed by a tenant",
        tenants_listed_by_a_tenant,
        (403, "ROOT_TENANT_ONLY"),
        tenants_listed_by_root,
    ),
    Attack("a user makes itself admin", promotes_itself, PERMISSION_MISSING, promoted_by_an_admin),
    Attack(
        "an operator makes itself admin", operator_promotes_itself, PERMISSION_MISSING, promoted_by_an_admin
    ),
    Attack("tenant changed through the mask", tenant_through_the_mask, INVALID, renamed),
    Attack("time of birth changed through the mask", create_time_through_the_mask, INVALID, renamed),
    Attack("a mask with a field that is none", unknown_field_in_the_mask, INVALID, renamed),
    Attack(
        "an admin made by less than an admin", a_maker_makes_an_admin, BEYOND, a_maker_makes_a_viewer_of_tools
    ),
    Attack("an admin's password reset by less", a_maker_resets_an_admin, BEYOND, own_password_reset_by_admin),
    Attack("a role beyond its maker", a_role_beyond_its_maker, BEYOND, a_role_within_its_maker),
    Attack("a role of everything", a_role_of_everything, BEYOND, a_role_within_its_maker),
    Attack("a built-in role changed", built_in_role_changed, (400, "ROLE_BUILT_IN"), own_role_changed),
    Attack("a built-in role replaced", built_in_role_replaced, (409, "NAME_TAKEN"), own_role_changed),
    Attack("another tenant's role read", another_tenants_role_read, (404, "ROLE_NOT_FOUND"), own_role_read),
    Attack("the last admin disabled", the_last_admin_disabled, (400, "LAST_ADMIN"), disabled_by_admin),
    Attack("the last admin demoted", the_last_admin_demoted, (400, "LAST_ADMIN"), promoted_by_an_admin),
    Attack(
        "the root tenant disabled", the_root_tenant_disabled, (400, "ROOT_TENANT_PROTECTED"), a_tenant_renamed
    ),
    Attack("another user's page token", another_users_page, PAGE_INVALID, own_next_page),
    Attack("a page token of another query", a_page_of_another_query, PAGE_INVALID, own_next_page),
    Attack("a page token changed", a_page_token_changed, PAGE_INVALID, own_next_page),
    Attack(
        "a request id used again", a_request_id_used_again, (409, "REQUEST_ID_REUSED"), the_same_request_again
    ),
    Attack(
        "an update that would lose another", a_lost_update, (409, "ETAG_MISMATCH"), an_update_of_what_was_read
    ),
)
