"""The services of the administration from memory: few rules, and every request kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.api import httpbody_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from grpc_status import rpc_status

from parley.auth.v1 import (
    audit_pb2,
    audit_service_pb2,
    audit_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    quota_pb2,
    quota_service_pb2,
    quota_service_pb2_grpc,
    role_service_pb2,
    role_service_pb2_grpc,
    session_service_pb2,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
)
from parley.inference.v1 import inference_service_pb2, rollout_service_pb2
from parley.tools.v1 import tool_service_pb2

Context = grpc.aio.ServicerContext
Item = TypeVar("Item")

ONE_TIME_PASSWORD = "olive-tiger-42"  # of a user who lives in this test
SECRET = "pk_toy_secret"
NOW = Timestamp(seconds=1_795_424_400)


def ulid(number: int) -> str:
    """An id by number."""
    return f"01ARZ3NDEKTSV4RRFFQ69G{number:04d}"


@dataclass
class ScriptedAuth(
    user_service_pb2_grpc.UserServiceServicer,
    key_service_pb2_grpc.KeyServiceServicer,
    role_service_pb2_grpc.RoleServiceServicer,
    quota_service_pb2_grpc.QuotaServiceServicer,
    audit_service_pb2_grpc.AuditServiceServicer,
    tenant_service_pb2_grpc.TenantServiceServicer,
    usage_service_pb2_grpc.UsageServiceServicer,
):
    """Answers from its lists.

    Attributes:
        requests: Every request, oldest first.
        refusals: What is answered instead, by the request's name.
        steps: What a proof of the audit says.
        root: Whether the caller's tenant is the root tenant.
        models: What is told of each model, and of its replicas.
        stats: What is told of the calls of tools.
        ill: Services that do not serve.
    """

    users: list[user_service_pb2.User] = field(default_factory=list)
    keys: list[key_service_pb2.Key] = field(default_factory=list)
    roles: list[role_service_pb2.Role] = field(default_factory=list)
    quotas: list[quota_pb2.Quota] = field(default_factory=list)
    uses: list[quota_pb2.QuotaUse] = field(default_factory=list)
    sums: list[usage_service_pb2.UsageSum] = field(default_factory=list)
    records: list[audit_pb2.AuditRecord] = field(default_factory=list)
    steps: list[audit_service_pb2.VerifyAuditResponse] = field(default_factory=list)
    rollouts: list[rollout_service_pb2.CompareRolloutResponse] = field(default_factory=list)
    root: bool = True
    models: list[inference_service_pb2.GetModelResponse] = field(default_factory=list)
    stats: tool_service_pb2.GetStatsResponse = field(default_factory=tool_service_pb2.GetStatsResponse)
    ill: set[str] = field(default_factory=set)
    requests: list[Message] = field(default_factory=list)
    refusals: dict[str, status_pb2.Status] = field(default_factory=dict)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve all of it."""
        user_service_pb2_grpc.add_UserServiceServicer_to_server(self, server)
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(self, server)
        role_service_pb2_grpc.add_RoleServiceServicer_to_server(self, server)
        quota_service_pb2_grpc.add_QuotaServiceServicer_to_server(self, server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self, server)
        tenant_service_pb2_grpc.add_TenantServiceServicer_to_server(self, server)
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(self, server)

    async def EndSessions(self, request: Any, context: Any) -> session_service_pb2.EndSessionsResponse:
        await self.enter(request, context)
        return session_service_pb2.EndSessionsResponse(ended_sessions=2)

    async def enter(self, request: Message, context: Context[Any, Any]) -> None:
        """Keep a request, and refuse it where it shall be refused."""
        self.requests.append(request)
        refusal = self.refusals.get(type(request).__name__.removesuffix("Request"))
        if refusal is not None:
            await context.abort_with_status(rpc_status.to_status(refusal))

    def last(self, kind: type[Item]) -> Item:
        """The newest request of a kind."""
        return next(request for request in reversed(self.requests) if isinstance(request, kind))

    def _user(self, user_id: str) -> user_service_pb2.User:
        return next(user for user in self.users if user.user_id == user_id)

    async def CreateUser(self, request: Any, context: Any) -> user_service_pb2.CreateUserResponse:
        await self.enter(request, context)
        user = user_service_pb2.User(
            user_id=ulid(len(self.users) + 1),
            username=request.username,
            display_name=request.display_name,
            kind=request.kind,
            roles=request.roles,
            create_time=NOW,
            must_change_password=request.kind != user_service_pb2.USER_KIND_SERVICE,
        )
        self.users.insert(0, user)
        password = ONE_TIME_PASSWORD if user.must_change_password else ""
        return user_service_pb2.CreateUserResponse(user=user, one_time_password=password)

    async def GetUser(self, request: Any, context: Any) -> user_service_pb2.GetUserResponse:
        await self.enter(request, context)
        return user_service_pb2.GetUserResponse(user=self._user(request.user_id))

    async def ListUsers(self, request: Any, context: Any) -> user_service_pb2.ListUsersResponse:
        await self.enter(request, context)
        disabled = request.state == user_service_pb2.USER_STATE_DISABLED
        found = [
            user
            for user in self.users
            if user.username.startswith(request.username_prefix)
            and (not request.role or request.role in user.roles)
            and (not request.kind or request.kind == user.kind)
            and (not request.state or disabled == user.HasField("disable_time"))
        ]
        users, following = _page(found, request)
        return user_service_pb2.ListUsersResponse(users=users, next_page_token=following)

    async def UpdateUser(self, request: Any, context: Any) -> user_service_pb2.UpdateUserResponse:
        await self.enter(request, context)
        user = self._user(request.user.user_id)
        user.display_name = request.user.display_name
        user.roles[:] = request.user.roles
        return user_service_pb2.UpdateUserResponse(user=user)

    async def DisableUser(self, request: Any, context: Any) -> user_service_pb2.DisableUserResponse:
        await self.enter(request, context)
        user = self._user(request.user_id)
        user.disable_time.CopyFrom(NOW)
        return user_service_pb2.DisableUserResponse(user=user)

    async def EnableUser(self, request: Any, context: Any) -> user_service_pb2.EnableUserResponse:
        await self.enter(request, context)
        user = self._user(request.user_id)
        user.ClearField("disable_time")
        return user_service_pb2.EnableUserResponse(user=user)

    async def ResetPassword(self, request: Any, context: Any) -> user_service_pb2.ResetPasswordResponse:
        await self.enter(request, context)
        return user_service_pb2.ResetPasswordResponse(one_time_password=ONE_TIME_PASSWORD)

    async def ChangePassword(self, request: Any, context: Any) -> user_service_pb2.ChangePasswordResponse:
        await self.enter(request, context)
        return user_service_pb2.ChangePasswordResponse()

    async def CreateKey(self, request: Any, context: Any) -> key_service_pb2.CreateKeyResponse:
        await self.enter(request, context)
        key = key_service_pb2.Key(
            key_id=ulid(500 + len(self.keys)),
            name=request.name,
            prefix="pk_toy",
            scopes=request.scopes,
            create_time=NOW,
            user_id=request.user_id or ulid(1),
            allowed_addresses=request.allowed_addresses,
        )
        if request.HasField("expire_time"):
            key.expire_time.CopyFrom(request.expire_time)
        self.keys.insert(0, key)
        return key_service_pb2.CreateKeyResponse(key=key, secret=SECRET)

    async def ListKeys(self, request: Any, context: Any) -> key_service_pb2.ListKeysResponse:
        await self.enter(request, context)
        owner = request.user_id or ulid(1)
        keys, following = _page([key for key in self.keys if owner in ("-", key.user_id)], request)
        return key_service_pb2.ListKeysResponse(keys=keys, next_page_token=following)

    async def RevokeKey(self, request: Any, context: Any) -> key_service_pb2.RevokeKeyResponse:
        await self.enter(request, context)
        key = next(key for key in self.keys if key.key_id == request.key_id)
        key.revoke_time.CopyFrom(NOW)
        return key_service_pb2.RevokeKeyResponse(key=key)

    async def RotateKey(self, request: Any, context: Any) -> key_service_pb2.RotateKeyResponse:
        await self.enter(request, context)
        old = next(key for key in self.keys if key.key_id == request.key_id)
        new = key_service_pb2.Key(
            key_id=ulid(500 + len(self.keys)),
            name=old.name,
            prefix="pk_new",
            user_id=old.user_id,
            create_time=NOW,
            replaces_key_id=old.key_id,
        )
        self.keys.insert(0, new)
        return key_service_pb2.RotateKeyResponse(key=new, secret=SECRET, replaced_key=old)

    async def CreateRole(self, request: Any, context: Any) -> role_service_pb2.CreateRoleResponse:
        await self.enter(request, context)
        self.roles.append(request.role)
        return role_service_pb2.CreateRoleResponse(role=request.role)

    async def GetRole(self, request: Any, context: Any) -> role_service_pb2.GetRoleResponse:
        await self.enter(request, context)
        return role_service_pb2.GetRoleResponse(role=next(r for r in self.roles if r.name == request.name))

    async def ListRoles(self, request: Any, context: Any) -> role_service_pb2.ListRolesResponse:
        await self.enter(request, context)
        roles, following = _page(self.roles, request)
        return role_service_pb2.ListRolesResponse(roles=roles, next_page_token=following)

    async def UpdateRole(self, request: Any, context: Any) -> role_service_pb2.UpdateRoleResponse:
        await self.enter(request, context)
        role = next(role for role in self.roles if role.name == request.role.name)
        role.CopyFrom(request.role)
        return role_service_pb2.UpdateRoleResponse(role=role)

    async def DeleteRole(self, request: Any, context: Any) -> role_service_pb2.DeleteRoleResponse:
        await self.enter(request, context)
        self.roles[:] = [role for role in self.roles if role.name != request.name]
        return role_service_pb2.DeleteRoleResponse()

    async def SetQuota(self, request: Any, context: Any) -> quota_service_pb2.SetQuotaResponse:
        await self.enter(request, context)
        self.quotas[:] = [q for q in self.quotas if q.subject != request.quota.subject]
        self.quotas.append(request.quota)
        return quota_service_pb2.SetQuotaResponse(quota=request.quota)

    async def GetQuota(self, request: Any, context: Any) -> quota_service_pb2.GetQuotaResponse:
        await self.enter(request, context)
        quota = next(quota for quota in self.quotas if quota.subject == request.subject)
        return quota_service_pb2.GetQuotaResponse(quota=quota)

    async def ListQuotas(self, request: Any, context: Any) -> quota_service_pb2.ListQuotasResponse:
        await self.enter(request, context)
        quotas, following = _page(self.quotas, request)
        return quota_service_pb2.ListQuotasResponse(quotas=quotas, next_page_token=following)

    async def DeleteQuota(self, request: Any, context: Any) -> quota_service_pb2.DeleteQuotaResponse:
        await self.enter(request, context)
        self.quotas[:] = [quota for quota in self.quotas if quota.subject != request.subject]
        return quota_service_pb2.DeleteQuotaResponse()

    async def GetQuotaStatus(self, request: Any, context: Any) -> quota_service_pb2.GetQuotaStatusResponse:
        await self.enter(request, context)
        return quota_service_pb2.GetQuotaStatusResponse(uses=self.uses)

    async def GetTenant(self, request: Any, context: Any) -> tenant_service_pb2.GetTenantResponse:
        await self.enter(request, context)
        tenant = tenant_service_pb2.Tenant(tenant_id=request.tenant_id, root=self.root)
        return tenant_service_pb2.GetTenantResponse(tenant=tenant)

    async def QueryUsage(self, request: Any, context: Any) -> usage_service_pb2.QueryUsageResponse:
        await self.enter(request, context)
        sums, following = _page(self.sums, request)
        return usage_service_pb2.QueryUsageResponse(sums=sums, next_page_token=following)

    async def ExportUsage(self, request: Any, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        await self.enter(request, context)
        for piece in (b"day,model,requests\r\n", b"2026-11-23,parley-demo,7\r\n"):
            yield httpbody_pb2.HttpBody(content_type="text/csv", data=piece)

    async def ListAuditRecords(
        self, request: Any, context: Any
    ) -> audit_service_pb2.ListAuditRecordsResponse:
        await self.enter(request, context)
        records, following = _page(self.records, request)
        return audit_service_pb2.ListAuditRecordsResponse(records=records, next_page_token=following)

    async def VerifyAudit(
        self, request: Any, context: Any
    ) -> AsyncIterator[audit_service_pb2.VerifyAuditResponse]:
        await self.enter(request, context)
        for step in self.steps:
            yield step
            await asyncio.sleep(0)


def _page(items: Sequence[Item], request: Any) -> tuple[Sequence[Item], str]:
    """A page of a list, and the token of the next one."""
    start, size = int(request.page_token or 0), request.page_size or 100
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""


def who_is(permissions: Sequence[str]) -> session_service_pb2.WhoAmIResponse:
    """A caller who may do this much."""
    return session_service_pb2.WhoAmIResponse(
        user_id=ulid(1), username="ada", tenant_id=ulid(9000), permissions=sorted(permissions)
    )
