"""What a caller may do to the rights of others: never beyond the caller's own."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.errors import GrantExceedsCaller, RootTenantOnly, UserNotFound
from services.auth.roles import first_beyond
from services.auth.store.models import User
from services.auth.store.tenants import TenantRecords
from services.auth.store.users import UserRecords
from services.rpc.principal import Principal

READ_USERS = "auth.users.read"


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


def owner_asked_for(caller: Principal, user_id: str) -> str:
    """Whose belongings a caller asks to see: an empty id means the caller's own.

    Raises:
        PermissionMissing: The caller may not see those of others.
    """
    owner = user_id or caller.user_id
    if owner != caller.user_id:
        caller.require(READ_USERS)
    return owner


async def colleague(session: AsyncSession, caller: Principal, user_id: str) -> User:
    """The user of the caller's tenant with this id.

    Raises:
        UserNotFound: The tenant has no such user.
    """
    user = await UserRecords(session).by_id(caller.tenant_id, user_id)
    if user is None:
        raise UserNotFound(user_id)
    return user


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
