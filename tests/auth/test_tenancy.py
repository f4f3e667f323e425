"""Crossing into another tenant: every method that takes an id says that there is no such thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from tests.auth.conftest import Auth, bearer, reason

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


@pytest.fixture
def database_url(tmp_path: Any) -> str:
    """One database is enough: what both do is proved where it is stored."""
    return f"sqlite+aiosqlite:///{tmp_path / 'auth.db'}"


async def test_every_method_with_an_id_finds_nothing_in_another_tenant(auth: Auth) -> None:
    ids = await belongings(auth)
    stranger = await auth.token("stranger", "admin")
    told, expected = {}, {}
    for name, path, missing in METHODS:
        service, method = name.split(".")
        call = auth.channel.unary_unary(
            f"/parley.auth.v1.{service}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=None,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request_for(name, path, ids), metadata=bearer(stranger))
        told[f"{name} {path}"] = (reason(caught), caught.value.code())
        expected[f"{name} {path}"] = (missing, grpc.StatusCode.NOT_FOUND)
    assert told == expected
    assert len(told) == 19
