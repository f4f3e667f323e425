"""Each method of the administration sends one call, with the caller's credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import Default
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from parley.auth.v1 import (
    audit_service_pb2,
    key_service_pb2,
    quota_pb2,
    role_service_pb2,
    session_service_pb2,
    tenant_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from parley.tools.v1 import mcp_service_pb2
from parley_client.administration import Administration
from parley_client.caller import Caller, pages
from parley_client.credentials import ApiKey
from parley_client.errors import ParleyError

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SUBJECT = quota_pb2.QuotaSubject(role="user")


@dataclass
class Echo(grpc.GenericRpcHandler):
    """Answers every method of the contract with an empty response, or with what it was told.

    Attributes:
        seen: Method, request and metadata of each call, oldest first.
        answers: What is answered, by method, the first first.
    """

    seen: list[tuple[str, Message, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, list[Message]] = field(default_factory=dict)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of whichever method is called."""
        service, _, name = details.method.lstrip("/").rpartition("/")
        method = Default().FindServiceByName(service).FindMethodByName(name)
        request_type = message_factory.GetMessageClass(method.input_type)
        answer_type = message_factory.GetMessageClass(method.output_type)

        def answer(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            self.seen.append((name, request, dict(context.invocation_metadata() or ())))
            told = self.answers.get(name)
            return told.pop(0) if told else answer_type()

        async def unary(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            return answer(request, context)

        async def stream(
            request: Message, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Message]:
            yield answer(request, context)

        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make(
            stream if method.server_streaming else unary,
            request_deserializer=request_type.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, Administration]]:
    echo, server = Echo(), grpc.aio.server()
    server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield echo, Administration(channel, Caller(ApiKey("pk_toy")))
    await server.stop(0)


Call = Callable[[Administration], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "CreateUser": lambda a: a.create_user(user_service_pb2.CreateUserRequest(username="ada")),
    "GetUser": lambda a: a.get_user(ID),
    "ListUsers": lambda a: a.list_users(user_service_pb2.ListUsersRequest(username_prefix="a")),
    "UpdateUser": lambda a: a.update_user(user_service_pb2.User(user_id=ID), "roles"),
    "DisableUser": lambda a: a.disable_user(ID),
    "EnableUser": lambda a: a.enable_user(ID),
    "ResetPassword": lambda a: a.reset_password(ID),
    "ChangePassword": lambda a: a.change_password("old", "new"),
    "ListSessions": lambda a: a.list_sessions(session_service_pb2.ListSessionsRequest(user_id=ID)),
    "EndSession": lambda a: a.end_session(ID),
    "EndSessions": lambda a: a.end_sessions(ID),
    "CreateKey": lambda a: a.create_key(key_service_pb2.CreateKeyRequest(name="ci")),
    "ListKeys": lambda a: a.list_keys(key_service_pb2.ListKeysRequest(user_id="-")),
    "RevokeKey": lambda a: a.revoke_key(ID),
    "RotateKey": lambda a: a.rotate_key(ID, timedelta(hours=1)),
    "CreateRole": lambda a: a.create_role(role_service_pb2.Role(name="auditor")),
    "GetRole": lambda a: a.get_role("auditor"),
    "ListRoles": lambda a: a.list_roles(role_service_pb2.ListRolesRequest(page_size=5)),
    "UpdateRole": lambda a: a.update_role(role_service_pb2.Role(name="auditor"), "permissions"),
    "DeleteRole": lambda a: a.delete_role("auditor"),
    "CreateTenant": lambda a: a.create_tenant(tenant_service_pb2.CreateTenantRequest(name="Acme")),
    "GetTenant": lambda a: a.get_tenant(ID),
    "ListTenants": lambda a: a.list_tenants(tenant_service_pb2.ListTenantsRequest(page_size=5)),
    "UpdateTenant": lambda a: a.update_tenant(tenant_service_pb2.Tenant(tenant_id=ID), "name"),
    "DisableTenant": lambda a: a.disable_tenant(ID),
    "EnableTenant": lambda a: a.enable_tenant(ID),
    "ListSigningKeys": lambda a: a.list_signing_keys(),
    "RotateSigningKey": lambda a: a.rotate_signing_key(),
    "SetQuota": lambda a: a.set_quota(quota_pb2.Quota(subject=SUBJECT), tenant_id=ID),
    "GetQuota": lambda a: a.get_quota(SUBJECT, tenant_id=ID),
    "DeleteQuota": lambda a: a.delete_quota(SUBJECT, tenant_id=ID),
    "GetQuotaStatus": lambda a: a.quota_status("parley-demo"),
    "QueryUsage": lambda a: a.query_usage(usage_service_pb2.QueryUsageRequest(page_size=5)),
    "WatchUsage": lambda a: anext(a.watch_usage(usage_service_pb2.WatchUsageRequest(interval_seconds=5))),
    "ExportUsage": lambda a: anext(a.export_usage(usage_service_pb2.UsageQuery(tenant_wide=True))),
    "ListAuditRecords": lambda a: a.list_audit_records(
        audit_service_pb2.ListAuditRecordsRequest(page_size=5)
    ),
    "WatchAuditRecords": lambda a: anext(
        a.watch_audit_records(audit_service_pb2.WatchAuditRecordsRequest(after_sequence=5))
    ),
    "AddServer": lambda a: a.add_mcp_server(mcp_service_pb2.McpServer(name="files")),
    "ListServers": lambda a: a.list_mcp_servers(mcp_service_pb2.ListServersRequest(page_size=5)),
    "GetServer": lambda a: a.get_mcp_server("files"),
    "RemoveServer": lambda a: a.remove_mcp_server("files"),
    "VerifyAudit": lambda a: anext(a.verify_audit()),
    "ExportAuditRecords": lambda a: anext(
        a.export_audit_records(audit_service_pb2.ExportAuditRecordsRequest())
    ),
}


@pytest.mark.parametrize("method", CALLS)
async def test_a_method_is_one_call_of_the_caller(echo: tuple[Echo, Administration], method: str) -> None:
    server, administration = echo
    await CALLS[method](administration)
    ((name, request, metadata),) = server.seen
    assert name == method
    assert metadata["authorization"] == "Bearer pk_toy"
    assert request.ByteSize() or method in {
        "ExportAuditRecords",
        "ListSigningKeys",
        "RotateSigningKey",
        "VerifyAudit",
    }


async def test_an_update_names_its_fields(echo: tuple[Echo, Administration]) -> None:
    server, administration = echo
    await administration.update_user(user_service_pb2.User(user_id=ID, roles=["user"]), "roles")
    _, request, _ = server.seen[0]
    assert request == user_service_pb2.UpdateUserRequest(
        user=user_service_pb2.User(user_id=ID, roles=["user"]), update_mask=FieldMask(paths=["roles"])
    )


async def test_a_rotation_overlaps_as_the_platform_sees_fit(echo: tuple[Echo, Administration]) -> None:
    server, administration = echo
    await administration.rotate_key(ID)
    assert server.seen[0][1] == key_service_pb2.RotateKeyRequest(key_id=ID)


async def test_every_page_is_asked_for(echo: tuple[Echo, Administration]) -> None:
    server, administration = echo
    server.answers["ListRoles"] = [
        role_service_pb2.ListRolesResponse(
            roles=[role_service_pb2.Role(name="admin")], next_page_token="more"
        ),
        role_service_pb2.ListRolesResponse(roles=[role_service_pb2.Role(name="user")]),
    ]
    answers = pages(
        lambda token: administration.list_roles(role_service_pb2.ListRolesRequest(page_token=token))
    )
    assert [role.name async for answer in answers for role in answer.roles] == ["admin", "user"]


async def test_a_failure_is_typed() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        administration = Administration(channel, Caller(ApiKey("pk_toy")))
        with pytest.raises(ParleyError) as caught:
            await administration.get_user(ID)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
