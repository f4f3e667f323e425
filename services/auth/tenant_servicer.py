"""Serves `parley.auth.v1.TenantService`."""

from __future__ import annotations

from parley.auth.v1 import tenant_service_pb2 as pb2
from parley.auth.v1.tenant_service_pb2_grpc import TenantServiceServicer
from services.auth.names import require_printable
from services.auth.repeats import Repeat
from services.auth.store.models import Tenant
from services.auth.tenants import Tenants
from services.auth.timestamps import timestamp
from services.auth.updates import etag_of, masked_fields
from services.rpc.call import current_principal
from services.rpc.errors import FieldViolation, InvalidRequest
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens


class TenantServicer(TenantServiceServicer):
    """Translates between the contract and `Tenants`."""

    def __init__(self, tenants: Tenants, pages: PageTokens) -> None:
        """Work with these parts."""
        self._tenants = tenants
        self._pages = pages

    async def CreateTenant(
        self, request: pb2.CreateTenantRequest, context: Context
    ) -> pb2.CreateTenantResponse:
        """Make a tenant with its first administrator, or give the one that this request made before."""
        caller = current_principal()
        require_printable("name", request.name)
        tenant, admin_user_id, password = await self._tenants.create(
            caller, request.name, request.admin_username, Repeat.of(caller, request)
        )
        return pb2.CreateTenantResponse(
            tenant=_message(tenant), admin_user_id=admin_user_id, one_time_password=password
        )

    async def GetTenant(self, request: pb2.GetTenantRequest, context: Context) -> pb2.GetTenantResponse:
        """Give a tenant."""
        tenant = await self._tenants.get(current_principal(), request.tenant_id)
        return pb2.GetTenantResponse(tenant=_message(tenant))

    async def ListTenants(self, request: pb2.ListTenantsRequest, context: Context) -> pb2.ListTenantsResponse:
        """List tenants, newest first."""
        caller = current_principal()
        listing = Listing(self._pages, request, caller)
        found = await self._tenants.page(caller, listing.after, listing.fetched)
        tenants, token = listing.cut(found, lambda tenant: tenant.tenant_id)
        return pb2.ListTenantsResponse(
            tenants=[_message(tenant) for tenant in tenants], next_page_token=token
        )

    async def UpdateTenant(
        self, request: pb2.UpdateTenantRequest, context: Context
    ) -> pb2.UpdateTenantResponse:
        """Change a tenant."""
        masked_fields(request.update_mask, ("name",))
        wanted = request.tenant
        _require_name(wanted.name)
        tenant = await self._tenants.rename(current_principal(), wanted.tenant_id, wanted.name, wanted.etag)
        return pb2.UpdateTenantResponse(tenant=_message(tenant))

    async def DisableTenant(
        self, request: pb2.DisableTenantRequest, context: Context
    ) -> pb2.DisableTenantResponse:
        """Shut out everyone of a tenant."""
        tenant = await self._tenants.disable(current_principal(), request.tenant_id)
        return pb2.DisableTenantResponse(tenant=_message(tenant))

    async def EnableTenant(
        self, request: pb2.EnableTenantRequest, context: Context
    ) -> pb2.EnableTenantResponse:
        """Let a tenant in again."""
        tenant = await self._tenants.enable(current_principal(), request.tenant_id)
        return pb2.EnableTenantResponse(tenant=_message(tenant))


def _require_name(name: str) -> None:
    """Refuse to call a tenant nothing.

    Raises:
        InvalidRequest: The name is empty or not printable.
    """
    if not name:
        violation = FieldViolation("tenant.name", "must not be empty")
        raise InvalidRequest(f"{violation.field}: {violation.description}", violations=[violation])
    require_printable("tenant.name", name)


def _message(tenant: Tenant) -> pb2.Tenant:
    return pb2.Tenant(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        root=tenant.root,
        create_time=timestamp(tenant.create_time),
        disable_time=timestamp(tenant.disable_time),
        etag=etag_of(tenant.version),
    )
