"""Whatever is written into a request: it is answered or refused for a reason, and the audit has it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import duration_pb2, field_mask_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from services.auth.descriptors import CONTRACTS
from services.rpc.interceptors.audit import QUIET_METHODS
from tests.auth.conftest import Auth, bearer

NOBODY = "0" * 26
PATIENCE_SECONDS = 15
# A stream that says nothing for so long has let its caller in.
SILENCE_SECONDS = 0.2
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
# What its caller goes on with.
ENDING = {"Logout", "EndSessions", "ChangePassword"}
# What a method must be told so that its other fields are looked at.
SOUND: dict[str, dict[str, Any]] = {
    "AuditService.RecordEvents": {
        "events": [{"event_id": NOBODY, "time": {"seconds": 1}, "stage": 2, "decision": 1}]
    },
    "KeyService.CreateKey": {"name": "k"},
    "KeyService.RevokeKey": {"key_id": NOBODY},
    "KeyService.RotateKey": {"key_id": NOBODY},
    "KeyService.ExchangeKey": {"secret": "x"},
    "QuotaService.SetQuota": {"quota": {"subject": {"role": "user"}}},
    "QuotaService.GetQuota": {"subject": {"role": "user"}},
    "QuotaService.DeleteQuota": {"subject": {"role": "user"}},
    "RoleService.CreateRole": {"role": {"name": "clerk"}},
    "RoleService.GetRole": {"name": "nobody"},
    "RoleService.DeleteRole": {"name": "nobody"},
    "RoleService.UpdateRole": {"role": {"name": "nobody"}, "update_mask": {"paths": ["description"]}},
    "SessionService.Login": {"username": "nobody", "password": "x"},
    "SessionService.Refresh": {"refresh_token": "x"},
    "SessionService.ExchangeExternalToken": {"subject_token": "x", "subject_token_type": 1},
    "SessionService.EndSession": {"session_id": NOBODY},
    "TenantService.CreateTenant": {"name": "t", "admin_username": "first"},
    "TenantService.GetTenant": {"tenant_id": NOBODY},
    "TenantService.DisableTenant": {"tenant_id": NOBODY},
    "TenantService.EnableTenant": {"tenant_id": NOBODY},
    "TenantService.UpdateTenant": {
        "tenant": {"tenant_id": NOBODY, "name": "n"},
        "update_mask": {"paths": ["name"]},
    },
    "TokenService.ExchangeToken": {"subject_token": "x", "life": {"seconds": 5}},
    "UserService.CreateUser": {"username": "u"},
    "UserService.GetUser": {"user_id": NOBODY},
    "UserService.DisableUser": {"user_id": NOBODY},
    "UserService.EnableUser": {"user_id": NOBODY},
    "UserService.ResetPassword": {"user_id": NOBODY},
    "UserService.UpdateUser": {
        "user": {"user_id": NOBODY},
        "update_mask": {"paths": ["display_name", "roles"]},
    },
}
EXTREMES: dict[str, list[Message]] = {
    "google.protobuf.Timestamp": [timestamp_pb2.Timestamp(seconds=2**62)],
    "google.protobuf.Duration": [duration_pb2.Duration(seconds=9, nanos=-1)],
    "google.protobuf.FieldMask": [field_mask_pb2.FieldMask(paths=["No__Path", "\0"])],
}
NUMBERS = {FieldDescriptor.TYPE_UINT32: 2**32 - 1, FieldDescriptor.TYPE_UINT64: 2**64 - 1}
# Read by a parser that calls itself.
NESTED = base64.urlsafe_b64encode(b"[" * 768).decode()


def extremes(field: FieldDescriptor) -> list[Any]:
    """Values at the end of what the field can hold, or beyond what its reader expects."""
    if field.message_type is not None:
        return list(EXTREMES.get(field.message_type.full_name, []))
    if field.type == FieldDescriptor.TYPE_STRING:
        first_day = ["0001-01-01"] if field.name.endswith("_day") else []
        return ["\0", *first_day, *([NESTED] if field.name == "page_token" else [])]
    if field.type == FieldDescriptor.TYPE_ENUM:
        return [99]
    return [NUMBERS[field.type]] if field.type in NUMBERS else []


def places(descriptor: Descriptor, path: tuple[FieldDescriptor, ...] = ()) -> Iterator[Any]:
    """Every field of a request, and of the messages in it that are one each."""
    for field in descriptor.fields:
        yield (*path, field)
        inner = field.message_type
        if inner is not None and not field.is_repeated and inner.full_name.startswith("parley."):
            yield from places(inner, (*path, field))


def with_value(request: Any, path: tuple[FieldDescriptor, ...], value: Any) -> Any:
    """The request, with this value in this place."""
    *outer, last = path
    holder = request
    for field in outer:
        holder = getattr(holder, field.name)
    if last.is_repeated:
        getattr(holder, last.name).append(value)
    elif last.message_type is not None:
        getattr(holder, last.name).CopyFrom(value)
    else:
        setattr(holder, last.name, value)
    return request


def requests(method: MethodDescriptor) -> Iterator[tuple[str, bytes]]:
    """Requests that are sound but for one field, with that field's path."""
    name = f"{method.containing_service.name}.{method.name}"
    kind = message_factory.GetMessageClass(method.input_type)
    for path in places(method.input_type):
        for value in extremes(path[-1]):
            request = with_value(kind(**SOUND.get(name, {})), path, value)
            yield ".".join(field.name for field in path), request.SerializeToString()


METHODS = [
    method
    for contract in CONTRACTS
    if contract.DESCRIPTOR.package == "parley.auth.v1"
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name not in ENDING
]


async def told(channel: Any, method: MethodDescriptor, request: bytes, metadata: Any) -> grpc.StatusCode:
    """The status that a call ends with, or begins well with."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            call = channel.unary_stream(path)(request, metadata=metadata, timeout=SILENCE_SECONDS)
            await call.read()
            call.cancel()
        else:
            await channel.unary_unary(path)(request, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def audited(auth: Auth, token: str) -> dict[str, str]:
    """The codes of the calls that the audit has, by their ids."""
    found: dict[str, str] = {}
    more, page_token = True, ""
    while more:
        page = await auth.ask("AuditService.ListAuditRecords", token, page_size=1000, page_token=page_token)
        for record in page.records:
            # Newest first: a stream's end comes before its beginning.
            found.setdefault(record.event.request_id, record.event.code)
        page_token = page.next_page_token
        more = bool(page_token)
    return found


async def test_no_request_is_a_fault_or_unseen(auth: Auth) -> None:
    root = (await auth.who(await auth.root_token())).tenant_id
    token = await auth.token("ada", "admin", tenant=root)
    channels = {"edge": auth.channel, "tools": auth.connect("tools")}
    faults, sent = [], {}
    for method in METHODS:
        name = f"/{method.containing_service.full_name}/{method.name}"
        quiet = name.startswith(QUIET_METHODS)
        channel = channels["tools" if quiet or "TokenService" in name else "edge"]
        for place, request in requests(method):
            request_id = f"request-{len(sent)}"
            if await told(channel, method, request, (*bearer(token), ("x-request-id", request_id))) in FAULTS:
                faults.append((name, place))
            if not quiet:
                sent[request_id] = (name, place)
    assert faults == []
    assert len(sent) > 150
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not sent.keys() <= (codes := await audited(auth, token)).keys():
            pass
    assert [sent[request_id] for request_id in sent if codes[request_id] in ("INTERNAL", "UNKNOWN")] == []
