"""Crossing into another tenant: every method that takes an id says that there is no such thing.

Filters that name another tenant are refused, and those that name what is in it find nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from tests.auth.conftest import Auth, bearer, reason
from tests.auth.test_audit import records

SERVICES = ("KeyService", "RoleService", "SessionService", "TenantService", "UserService")
# What names something that belongs to a tenant, and how its absence is told.
NAMING = {
    "key_id": "KEY_NOT_FOUND",
    "session_id": "SESSION_NOT_FOUND",
    "tenant_id": "TENANT_NOT_FOUND",
    "user_id": "USER_NOT_FOUND",
    "name": "ROLE_NOT_FOUND",
}
# A name that is given, not looked up.
GIVEN = {"CreateKeyRequest.name", "CreateTenantRequest.name"}


def naming_fields(method: MethodDescriptor) -> Iterator[tuple[str, str]]:
    """Paths of the request's fields that name something, with what is told when it is not there."""
    for field in method.input_type.fields:
        if field.name in NAMING and f"{method.input_type.name}.{field.name}" not in GIVEN:
            yield field.name, NAMING[field.name]
    if method.name.startswith("Update"):
        resource: FieldDescriptor = method.input_type.fields[0]
        named = {"user": "user_id", "tenant": "tenant_id", "role": "name"}[resource.name]
        yield f"{resource.name}.{named}", NAMING[named]


METHODS = [
    (f"{service}.{method.name}", path, told)
    for service in SERVICES
    for method in descriptor_pool.Default().FindServiceByName(f"parley.auth.v1.{service}").methods
    for path, told in naming_fields(method)
]
# What else a request must hold to be looked at.
BESIDE = {
    "KeyService.CreateKey": {"name": "k"},
    "RoleService.UpdateRole": {"update_mask": {"paths": ["description"]}},
    "TenantService.UpdateTenant": {"tenant": {"name": "n"}, "update_mask": {"paths": ["name"]}},
    "UserService.UpdateUser": {"update_mask": {"paths": ["roles"]}},
}


async def belongings(auth: Auth) -> dict[str, str]:
    """Ids of one tenant: of its administrator, session and key, and the name of its role."""
    token = await auth.token("owner", "admin")
    who = await auth.who(token)
    key = await auth.create_key(token)
    await auth.ask("RoleService.CreateRole", token, role={"name": "clerk"})
    return {
        "user_id": who.user_id,
        "tenant_id": who.tenant_id,
        "session_id": who.session_id,
        "key_id": key.key.key_id,
        "name": "clerk",
    }


def request_for(name: str, path: str, ids: dict[str, str]) -> Any:
    """The method's request, which names what belongs to another tenant."""
    service, method = name.split(".")
    found = descriptor_pool.Default().FindServiceByName(f"parley.auth.v1.{service}").methods_by_name[method]
    request: Any = message_factory.GetMessageClass(found.input_type)(**BESIDE.get(name, {}))
    *outer, last = path.split(".")
    target = request
    for step in outer:
        target = getattr(target, step)
    setattr(target, last, ids[last])
    return request


TENANT = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
# What reaches into the tenant that it names: for callers of the root tenant alone.
REACHING = {
    "AuditService.ListAuditRecords": {"filter": {"tenant_id": TENANT}},
    "AuditService.WatchAuditRecords": {"filter": {"tenant_id": TENANT}, "after_sequence": 0},
    "AuditService.ExportAuditRecords": {"filter": {"tenant_id": TENANT}},
    "QuotaService.GetQuota": {"subject": {"default_user": True}, "tenant_id": TENANT},
    "QuotaService.ListQuotas": {"tenant_id": TENANT},
    "QuotaService.DeleteQuota": {"subject": {"default_user": True}, "tenant_id": TENANT},
    "UsageService.QueryUsage": {"query": {"tenant_id": TENANT}},
    "UsageService.WatchUsage": {"query": {"tenant_id": TENANT}},
    "UsageService.ExportUsage": {"query": {"tenant_id": TENANT}},
}


async def called(auth: Auth, token: str, name: str, request: Any) -> bytes:
    """The first answer of a method, as it came."""
    service, method = name.split(".")
    path = f"/parley.auth.v1.{service}/{method}"
    found = descriptor_pool.Default().FindServiceByName(f"parley.auth.v1.{service}").methods_by_name[method]
    options: dict[str, Any] = {"request_serializer": lambda message: message.SerializeToString()}
    if found.server_streaming:
        return bytes(await auth.channel.unary_stream(path, **options)(request, metadata=bearer(token)).read())
    return bytes(await auth.channel.unary_unary(path, **options)(request, metadata=bearer(token)))


def message(name: str, **fields: Any) -> Any:
    service, method = name.split(".")
    found = descriptor_pool.Default().FindServiceByName(f"parley.auth.v1.{service}").methods_by_name[method]
    return message_factory.GetMessageClass(found.input_type)(**fields)


@pytest.fixture
def database_url(tmp_path: Any) -> str:
    """One database is enough: what both do is proved where it is stored."""
    return f"sqlite+aiosqlite:///{tmp_path / 'auth.db'}"


async def test_every_method_with_an_id_finds_nothing_in_another_tenant(auth: Auth) -> None:
    ids = await belongings(auth)
    stranger = await auth.token("stranger", "admin")
    told, expected = {}, {}
    for name, path, missing in METHODS:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await called(auth, stranger, name, request_for(name, path, ids))
        told[f"{name} {path}"] = (reason(caught), caught.value.code())
        expected[f"{name} {path}"] = (missing, grpc.StatusCode.NOT_FOUND)
    assert told == expected
    assert len(told) == 19


async def test_no_filter_reaches_into_another_tenant(auth: Auth) -> None:
    stranger = await auth.token("stranger", "admin")
    told = {}
    for name, fields in REACHING.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await called(auth, stranger, name, message(name, **fields))
        told[name] = (reason(caught), caught.value.code())
    assert told == dict.fromkeys(REACHING, ("ROOT_TENANT_ONLY", grpc.StatusCode.PERMISSION_DENIED))


async def test_filters_by_what_is_in_another_tenant_find_nothing(auth: Auth) -> None:
    ids = await belongings(auth)
    root, stranger = await auth.root_token(), await auth.token("stranger", "admin")
    assert await records(auth, root, user_id=ids["user_id"]), "the audit has something of it"
    for field in ("user_id", "key_id"):
        which = {field: ids[field]}
        found = await auth.ask("AuditService.ListAuditRecords", stranger, filter=which)
        assert list(found.records) == []
        assert await auth.refused("QuotaService.GetQuota", stranger, subject=which) == "QUOTA_NOT_FOUND"
