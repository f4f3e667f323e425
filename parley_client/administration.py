"""What administers a deployment: identity, permission, quotas, usage and the audit.

administration = client.administration
async for page in pages(lambda token: administration.list_users(ListUsersRequest(page_token=token))):
    print([user.username for user in page.users])
"""

from __future__ import annotations

from datetime import timedelta

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from parley.auth.v1 import (
    audit_pb2,
    audit_service_pb2,
    key_service_pb2,
    quota_pb2,
    quota_service_pb2,
    role_service_pb2,
    session_service_pb2,
    signing_key_service_pb2,
    tenant_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from parley.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceStub
from parley.auth.v1.role_service_pb2_grpc import RoleServiceStub
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.auth.v1.signing_key_service_pb2_grpc import SigningKeyServiceStub
from parley.auth.v1.tenant_service_pb2_grpc import TenantServiceStub
from parley.auth.v1.usage_service_pb2_grpc import UsageServiceStub
from parley.auth.v1.user_service_pb2_grpc import UserServiceStub
from parley.tools.v1 import mcp_service_pb2
from parley.tools.v1.mcp_service_pb2_grpc import McpServiceStub
from parley_client.caller import Caller
from parley_client.stream import EventStream


class Administration:
    """The administration of one deployment, by one caller.

    Lists come a page at a time; `parley_client.caller.pages` gives them all.
    Every method raises `ParleyError` when the call does not end well.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._caller = caller
        self._audit = AuditServiceStub(channel)
        self._keys = KeyServiceStub(channel)
        self._mcp = McpServiceStub(channel)
        self._quotas = QuotaServiceStub(channel)
        self._roles = RoleServiceStub(channel)
        self._sessions = SessionServiceStub(channel)
        self._signing_keys = SigningKeyServiceStub(channel)
        self._tenants = TenantServiceStub(channel)
        self._usage = UsageServiceStub(channel)
        self._users = UserServiceStub(channel)

    async def create_user(
        self, request: user_service_pb2.CreateUserRequest
    ) -> user_service_pb2.CreateUserResponse:
        """Makes a user. A person's one-time password is in this answer and nowhere after."""
        return await self._caller.unary(self._users.CreateUser, request)

    async def get_user(self, user_id: str) -> user_service_pb2.User:
        """Gives a user."""
        request = user_service_pb2.GetUserRequest(user_id=user_id)
        return (await self._caller.unary(self._users.GetUser, request)).user

    async def list_users(
        self, request: user_service_pb2.ListUsersRequest
    ) -> user_service_pb2.ListUsersResponse:
        """Lists users, newest first."""
        return await self._caller.unary(self._users.ListUsers, request)

    async def update_user(self, user: user_service_pb2.User, *fields: str) -> user_service_pb2.User:
        """Changes these fields of a user."""
        request = user_service_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=fields))
        return (await self._caller.unary(self._users.UpdateUser, request)).user

    async def disable_user(self, user_id: str) -> user_service_pb2.User:
        """Shuts a user out."""
        request = user_service_pb2.DisableUserRequest(user_id=user_id)
        return (await self._caller.unary(self._users.DisableUser, request)).user

    async def enable_user(self, user_id: str) -> user_service_pb2.User:
        """Lets a disabled user in again."""
        request = user_service_pb2.EnableUserRequest(user_id=user_id)
        return (await self._caller.unary(self._users.EnableUser, request)).user

    async def reset_password(self, user_id: str) -> str:
        """Gives a person a new one-time password, and ends all sessions of theirs."""
        request = user_service_pb2.ResetPasswordRequest(user_id=user_id)
        return (await self._caller.unary(self._users.ResetPassword, request)).one_time_password

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Changes the caller's own password, and ends all sessions but this one."""
        request = user_service_pb2.ChangePasswordRequest(
            current_password=current_password, new_password=new_password
        )
        await self._caller.unary(self._users.ChangePassword, request)

    async def list_sessions(
        self, request: session_service_pb2.ListSessionsRequest
    ) -> session_service_pb2.ListSessionsResponse:
        """Lists sessions that live, newest first."""
        return await self._caller.unary(self._sessions.ListSessions, request)

    async def end_session(self, session_id: str) -> None:
        """Ends a session."""
        request = session_service_pb2.EndSessionRequest(session_id=session_id)
        await self._caller.unary(self._sessions.EndSession, request)

    async def end_sessions(self, user_id: str = "") -> int:
        """Ends every session of a user, or else of the caller; gives how many there were."""
        request = session_service_pb2.EndSessionsRequest(user_id=user_id)
        return (await self._caller.unary(self._sessions.EndSessions, request)).ended_sessions

    async def create_key(
        self, request: key_service_pb2.CreateKeyRequest
    ) -> key_service_pb2.CreateKeyResponse:
        """Makes an API key. Its secret is in this answer and nowhere after."""
        return await self._caller.unary(self._keys.CreateKey, request)

    async def list_keys(self, request: key_service_pb2.ListKeysRequest) -> key_service_pb2.ListKeysResponse:
        """Lists keys, newest first, without secrets."""
        return await self._caller.unary(self._keys.ListKeys, request)

    async def revoke_key(self, key_id: str) -> key_service_pb2.Key:
        """Ends a key and every token made from it."""
        request = key_service_pb2.RevokeKeyRequest(key_id=key_id)
        return (await self._caller.unary(self._keys.RevokeKey, request)).key

    async def rotate_key(
        self, key_id: str, overlap: timedelta | None = None
    ) -> key_service_pb2.RotateKeyResponse:
        """Makes a key that follows another one, which goes on for `overlap` (by default a day)."""
        request = key_service_pb2.RotateKeyRequest(key_id=key_id)
        if overlap is not None:
            request.overlap.FromTimedelta(overlap)
        return await self._caller.unary(self._keys.RotateKey, request)

    async def create_role(self, role: role_service_pb2.Role) -> role_service_pb2.Role:
        """Makes a role of the caller's tenant."""
        request = role_service_pb2.CreateRoleRequest(role=role)
        return (await self._caller.unary(self._roles.CreateRole, request)).role

    async def get_role(self, name: str) -> role_service_pb2.Role:
        """Gives a role."""
        request = role_service_pb2.GetRoleRequest(name=name)
        return (await self._caller.unary(self._roles.GetRole, request)).role

    async def list_roles(
        self, request: role_service_pb2.ListRolesRequest
    ) -> role_service_pb2.ListRolesResponse:
        """Lists the built-in roles and the tenant's, by name."""
        return await self._caller.unary(self._roles.ListRoles, request)

    async def update_role(self, role: role_service_pb2.Role, *fields: str) -> role_service_pb2.Role:
        """Changes these fields of a role of the tenant."""
        request = role_service_pb2.UpdateRoleRequest(role=role, update_mask=FieldMask(paths=fields))
        return (await self._caller.unary(self._roles.UpdateRole, request)).role

    async def delete_role(self, name: str) -> None:
        """Deletes a role of the tenant that nobody has any more."""
        await self._caller.unary(self._roles.DeleteRole, role_service_pb2.DeleteRoleRequest(name=name))

    async def create_tenant(
        self, request: tenant_service_pb2.CreateTenantRequest
    ) -> tenant_service_pb2.CreateTenantResponse:
        """Makes a tenant; its first administrator's one-time password is in this answer alone."""
        return await self._caller.unary(self._tenants.CreateTenant, request)

    async def get_tenant(self, tenant_id: str) -> tenant_service_pb2.Tenant:
        """Gives a tenant."""
        request = tenant_service_pb2.GetTenantRequest(tenant_id=tenant_id)
        return (await self._caller.unary(self._tenants.GetTenant, request)).tenant

    async def list_tenants(
        self, request: tenant_service_pb2.ListTenantsRequest
    ) -> tenant_service_pb2.ListTenantsResponse:
        """Lists tenants, newest first."""
        return await self._caller.unary(self._tenants.ListTenants, request)

    async def update_tenant(
        self, tenant: tenant_service_pb2.Tenant, *fields: str
    ) -> tenant_service_pb2.Tenant:
        """Changes these fields of a tenant."""
        request = tenant_service_pb2.UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=fields))
        return (await self._caller.unary(self._tenants.UpdateTenant, request)).tenant

    async def disable_tenant(self, tenant_id: str) -> tenant_service_pb2.Tenant:
        """Shuts out everyone of a tenant."""
        request = tenant_service_pb2.DisableTenantRequest(tenant_id=tenant_id)
        return (await self._caller.unary(self._tenants.DisableTenant, request)).tenant

    async def enable_tenant(self, tenant_id: str) -> tenant_service_pb2.Tenant:
        """Lets a disabled tenant in again."""
        request = tenant_service_pb2.EnableTenantRequest(tenant_id=tenant_id)
        return (await self._caller.unary(self._tenants.EnableTenant, request)).tenant

    async def list_signing_keys(self) -> list[signing_key_service_pb2.SigningKey]:
        """Lists the published keys that access tokens are signed with."""
        request = signing_key_service_pb2.ListSigningKeysRequest()
        return list((await self._caller.unary(self._signing_keys.ListSigningKeys, request)).signing_keys)

    async def rotate_signing_key(self) -> signing_key_service_pb2.SigningKey:
        """Begins a new signing key."""
        request = signing_key_service_pb2.RotateSigningKeyRequest()
        return (await self._caller.unary(self._signing_keys.RotateSigningKey, request)).signing_key

    async def set_quota(self, quota: quota_pb2.Quota, *, tenant_id: str = "") -> quota_pb2.Quota:
        """Sets the quota of a subject, in place of the one that it had."""
        request = quota_service_pb2.SetQuotaRequest(quota=quota, tenant_id=tenant_id)
        return (await self._caller.unary(self._quotas.SetQuota, request)).quota

    async def get_quota(self, subject: quota_pb2.QuotaSubject, *, tenant_id: str = "") -> quota_pb2.Quota:
        """Gives the quota of a subject."""
        request = quota_service_pb2.GetQuotaRequest(subject=subject, tenant_id=tenant_id)
        return (await self._caller.unary(self._quotas.GetQuota, request)).quota

    async def list_quotas(
        self, request: quota_service_pb2.ListQuotasRequest
    ) -> quota_service_pb2.ListQuotasResponse:
        """Lists the quotas of the tenant, by kind and then by name."""
        return await self._caller.unary(self._quotas.ListQuotas, request)

    async def delete_quota(self, subject: quota_pb2.QuotaSubject, *, tenant_id: str = "") -> None:
        """Takes the quota of a subject away."""
        request = quota_service_pb2.DeleteQuotaRequest(subject=subject, tenant_id=tenant_id)
        await self._caller.unary(self._quotas.DeleteQuota, request)

    async def quota_status(self, model: str = "") -> list[quota_pb2.QuotaUse]:
        """What the caller has used of every limit that a request of this model would be held to."""
        request = quota_service_pb2.GetQuotaStatusRequest(model=model)
        return list((await self._caller.unary(self._quotas.GetQuotaStatus, request)).uses)

    async def query_usage(
        self, request: usage_service_pb2.QueryUsageRequest
    ) -> usage_service_pb2.QueryUsageResponse:
        """Sums usage up."""
        return await self._caller.unary(self._usage.QueryUsage, request)

    def watch_usage(
        self, request: usage_service_pb2.WatchUsageRequest
    ) -> EventStream[usage_service_pb2.WatchUsageResponse]:
        """Sums usage up whenever it has changed, until the stream is closed."""
        return self._caller.stream(self._usage.WatchUsage, request, lambda answer: answer)

    def export_usage(self, query: usage_service_pb2.UsageQuery) -> EventStream[bytes]:
        """Gives the sums as a CSV file (RFC 4180), piece by piece."""
        request = usage_service_pb2.ExportUsageRequest(query=query)
        return self._caller.stream(self._usage.ExportUsage, request, lambda answer: bytes(answer.data))

    async def list_audit_records(
        self, request: audit_service_pb2.ListAuditRecordsRequest
    ) -> audit_service_pb2.ListAuditRecordsResponse:
        """Lists records, newest first."""
        return await self._caller.unary(self._audit.ListAuditRecords, request)

    def watch_audit_records(
        self, request: audit_service_pb2.WatchAuditRecordsRequest
    ) -> EventStream[list[audit_pb2.AuditRecord]]:
        """Follows records as they are written, until the stream is closed."""
        return self._caller.stream(
            self._audit.WatchAuditRecords, request, lambda answer: list(answer.records)
        )

    def verify_audit(self) -> EventStream[audit_service_pb2.VerifyAuditResponse]:
        """Proves the chain; the last step has the summary."""
        request = audit_service_pb2.VerifyAuditRequest()
        return self._caller.stream(self._audit.VerifyAudit, request, lambda answer: answer)

    def export_audit_records(
        self, request: audit_service_pb2.ExportAuditRecordsRequest
    ) -> EventStream[list[audit_pb2.AuditRecord]]:
        """Gives all records that match, oldest first."""
        return self._caller.stream(
            self._audit.ExportAuditRecords, request, lambda answer: list(answer.records)
        )

    async def add_mcp_server(self, server: mcp_service_pb2.McpServer) -> mcp_service_pb2.McpServer:
        """Adds an outside MCP server for the caller's tenant; as it is after the first try."""
        request = mcp_service_pb2.AddServerRequest(server=server)
        return (await self._caller.unary(self._mcp.AddServer, request)).server

    async def list_mcp_servers(
        self, request: mcp_service_pb2.ListServersRequest
    ) -> mcp_service_pb2.ListServersResponse:
        """Lists outside MCP servers by name."""
        return await self._caller.unary(self._mcp.ListServers, request)

    async def get_mcp_server(self, name: str) -> mcp_service_pb2.McpServer:
        """Gives one of them."""
        request = mcp_service_pb2.GetServerRequest(name=name)
        return (await self._caller.unary(self._mcp.GetServer, request)).server

    async def remove_mcp_server(self, name: str) -> None:
        """Removes one of the caller's tenant, with its tools."""
        await self._caller.unary(self._mcp.RemoveServer, mcp_service_pb2.RemoveServerRequest(name=name))
