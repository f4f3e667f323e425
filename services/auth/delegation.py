"""What a caller may do to the rights of others: never beyond the caller's own."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.errors import GrantExceedsCaller, RootTenantOnly
from services.auth.roles import first_beyond
from services.auth.store.tenants import TenantRecords
from services.rpc.principal import Principal


def require_held(caller: Principal, permissions: Iterable[str]) -> None:
    """Refuse a caller who would give, take or take over what they do not hold.

    This is asked about the one who is changed as well: whoever resets an
    administrator's password could log in as one.

    Raises:
        GrantExceedsCaller: The caller's token does not hold all of them.
    """
    beyond = first_beyond(permissions, caller.permissions)
    if beyond is not None:
        raise GrantExceedsCaller(beyond)


async def is_root(session: AsyncSession, caller: Principal) -> bool:
    """Whether the caller belongs to the root tenant."""
    tenant = await TenantRecords(session).by_id(caller.tenant_id)
    return tenant is not None and tenant.root


async def require_root(session: AsyncSession, caller: Principal) -> None:
    """Refuse what concerns the whole platform to those of other tenants.

    Raises:
        RootTenantOnly: The caller is one of them.
    """
    if not await is_root(session, caller):
        raise RootTenantOnly
