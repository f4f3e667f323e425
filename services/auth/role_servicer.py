"""Serves `parley.auth.v1.RoleService`."""

from __future__ import annotations

from parley.auth.v1 import role_service_pb2 as pb2
from parley.auth.v1.role_service_pb2_grpc import RoleServiceServicer
from services.auth.names import require_printable
from services.auth.repeats import Repeat
from services.auth.tenant_roles import NamedRole, RoleChanges, TenantRoles
from services.auth.timestamps import timestamp
from services.auth.updates import etag_of, masked_fields
from services.rpc.call import current_principal
from services.rpc.errors import FieldViolation, InvalidRequest
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens

CHANGEABLE = ("description", "permissions")


class RoleServicer(RoleServiceServicer):
    """Translates between the contract and `TenantRoles`."""

    def __init__(self, roles: TenantRoles, pages: PageTokens) -> None:
        """Work with these parts."""
        self._roles = roles
        self._pages = pages

    async def CreateRole(self, request: pb2.CreateRoleRequest, context: Context) -> pb2.CreateRoleResponse:
        """Make a role, or give the one that this request made before."""
        caller, wanted = current_principal(), request.role
        if not wanted.name:
            violation = FieldViolation("role.name", "must not be empty")
            raise InvalidRequest(f"{violation.field}: {violation.description}", violations=[violation])
        require_printable("role.description", wanted.description)
        role = NamedRole(wanted.name, wanted.description, tuple(wanted.permissions))
        made = await self._roles.create(caller, role, Repeat.of(caller, request))
        return pb2.CreateRoleResponse(role=_message(made))

    async def GetRole(self, request: pb2.GetRoleRequest, context: Context) -> pb2.GetRoleResponse:
        """Give a role."""
        role = await self._roles.get(current_principal(), request.name)
        return pb2.GetRoleResponse(role=_message(role))

    async def ListRoles(self, request: pb2.ListRolesRequest, context: Context) -> pb2.ListRolesResponse:
        """List roles by name."""
        caller = current_principal()
        listing = Listing(self._pages, request, caller)
        found = await self._roles.page(caller, listing.after, listing.fetched)
        roles, token = listing.cut(found, lambda role: role.name)
        return pb2.ListRolesResponse(roles=[_message(role) for role in roles], next_page_token=token)

    async def UpdateRole(self, request: pb2.UpdateRoleRequest, context: Context) -> pb2.UpdateRoleResponse:
        """Change a role."""
        fields, wanted = masked_fields(request.update_mask, CHANGEABLE), request.role
        require_printable("role.description", wanted.description)
        changes = RoleChanges(
            wanted.description if "description" in fields else None,
            wanted.permissions if "permissions" in fields else None,
        )
        role = await self._roles.update(current_principal(), wanted.name, changes, wanted.etag)
        return pb2.UpdateRoleResponse(role=_message(role))

    async def DeleteRole(self, request: pb2.DeleteRoleRequest, context: Context) -> pb2.DeleteRoleResponse:
        """Delete a role."""
        await self._roles.delete(current_principal(), request.name)
        return pb2.DeleteRoleResponse()


def _message(role: NamedRole) -> pb2.Role:
    return pb2.Role(
        name=role.name,
        description=role.description,
        permissions=role.permissions,
        built_in=role.built_in,
        create_time=timestamp(role.create_time),
        etag="" if role.built_in else etag_of(role.version),
    )
