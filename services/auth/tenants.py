"""Tenants as the root tenant manages them, and as each sees itself."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from services.auth.clock import Clock
from services.auth.delegation import is_root, require_held, require_root
from services.auth.errors import NameTaken, RootTenantProtected, TenantNotFound
from services.auth.passwords import Passwords, one_time_password
from services.auth.repeats import Repeat
from services.auth.revocations import revoke
from services.auth.roles import ADMIN, BUILT_IN
from services.auth.store.models import Tenant
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.tenants import TenantRecords
from services.auth.store.users import UserRecords
from services.auth.updates import require_current
from services.auth.users import NewUser
from services.rpc.principal import Principal
from services.sql.database import Database

log = structlog.get_logger("parley.auth")


class Tenants:
    """Makes, shows, changes and disables tenants."""

    def __init__(self, database: Database, passwords: Passwords, clock: Clock) -> None:
        """Work with these parts."""
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def create(
        self, caller: Principal, name: str, admin_username: str, repeat: Repeat
    ) -> tuple[Tenant, str, str]:
        """Make a tenant with its first administrator, or give the one that this request made before.

        Returns:
            The tenant, the administrator's id, and the one-time password if this call made one.

        Raises:
            RootTenantOnly: The caller belongs to another tenant.
            GrantExceedsCaller: The caller is no administrator, and cannot make one.
            NameTaken: A tenant or a user is called so.
            RequestIdReused: The request id was used for another request.
        """
        password = one_time_password()
        password_hash = await self._passwords.hash(password)
        try:
            async with self._database.writing() as session:
                await TenantRecords(session).lock(caller.tenant_id)
                await require_root(session, caller)
                require_held(caller, BUILT_IN[ADMIN])
                if earlier := await repeat.earlier(session):
                    return await _made_before(session, earlier)
                await _require_free(session, name, admin_username)
                now = self._clock()
                tenant = Tenant(tenant_id=str(ULID()), name=name, create_time=now)
                await TenantRecords(session).add(tenant)
                admin = NewUser(admin_username, roles=(ADMIN,)).record(tenant.tenant_id, password_hash, now)
                await UserRecords(session).add(admin)
                repeat.note(session, tenant.tenant_id, now)
        except IntegrityError:
            raise NameTaken(admin_username) from None  # a moment ago, in another tenant
        log.info("tenant created", tenant_id=tenant.tenant_id, by=caller.user_id)
        return tenant, admin.user_id, password

    async def get(self, caller: Principal, tenant_id: str) -> Tenant:
        """The tenant with this id.

        Raises:
            TenantNotFound: There is none, or it is none of the caller's business.
        """
        async with self._database.reading() as session:
            return await _visible(session, caller, tenant_id)

    async def page(self, caller: Principal, after: str, size: int) -> Sequence[Tenant]:
        """Tenants, newest first, beginning after the id `after` if it is given.

        Raises:
            RootTenantOnly: The caller belongs to another tenant.
        """
        async with self._database.reading() as session:
            await require_root(session, caller)
            return await TenantRecords(session).page(after, size)

    async def rename(self, caller: Principal, tenant_id: str, name: str, etag: str) -> Tenant:
        """Call a tenant something else.

        Raises:
            TenantNotFound: There is none, or it is none of the caller's business.
            EtagMismatch: The change is based on an earlier state.
            NameTaken: Another one is called so.
        """
        try:
            async with self._database.writing() as session:
                tenant = await _changeable(session, caller, tenant_id)
                require_current(etag, tenant.version)
                tenant.name, tenant.version = name, tenant.version + 1
        except IntegrityError:
            raise NameTaken(name) from None
        log.info("tenant renamed", tenant_id=tenant_id, by=caller.user_id)
        return tenant

    async def disable(self, caller: Principal, tenant_id: str) -> Tenant:
        """Shut out everyone of a tenant; the first time stands.

        Raises:
            TenantNotFound: There is none, or it is none of the caller's business.
            RootTenantOnly: The caller belongs to another tenant.
            RootTenantProtected: It is the root tenant.
        """
        async with self._database.writing() as session:
            tenant = await _changeable(session, caller, tenant_id, against_logins=True)
            await require_root(session, caller)
            if tenant.root:
                raise RootTenantProtected(tenant_id)
            if tenant.disable_time is None:
                tenant.disable_time, tenant.version = self._clock(), tenant.version + 1
                await revoke(
                    session, kind=RevocationKind.TENANT, subject_ids=[tenant_id], now=tenant.disable_time
                )
        log.info("tenant disabled", tenant_id=tenant_id, by=caller.user_id)
        return tenant

    async def enable(self, caller: Principal, tenant_id: str) -> Tenant:
        """Let a tenant in again.

        Raises:
            TenantNotFound: There is none, or it is none of the caller's business.
            RootTenantOnly: The caller belongs to another tenant.
        """
        async with self._database.writing() as session:
            tenant = await _changeable(session, caller, tenant_id)
            await require_root(session, caller)
            if tenant.disable_time is not None:
                tenant.disable_time, tenant.version = None, tenant.version + 1
        log.info("tenant enabled", tenant_id=tenant_id, by=caller.user_id)
        return tenant


async def _visible(session: AsyncSession, caller: Principal, tenant_id: str) -> Tenant:
    """The tenant, if it is the caller's or the caller belongs to the root tenant."""
    if tenant_id != caller.tenant_id and not await is_root(session, caller):
        raise TenantNotFound(tenant_id)
    tenant = await TenantRecords(session).by_id(tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    return tenant


async def _changeable(
    session: AsyncSession, caller: Principal, tenant_id: str, *, against_logins: bool = False
) -> Tenant:
    """The same, with every other change to it waiting, and logins if they are to."""
    await _visible(session, caller, tenant_id)
    return await TenantRecords(session).lock(tenant_id, against_logins=against_logins)


async def _require_free(session: AsyncSession, name: str, admin_username: str) -> None:
    if await TenantRecords(session).name_taken(name):
        raise NameTaken(name)
    if await UserRecords(session).name_taken(admin_username):
        raise NameTaken(admin_username)


async def _made_before(session: AsyncSession, tenant_id: str) -> tuple[Tenant, str, str]:
    tenant = await TenantRecords(session).by_id(tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    return tenant, await UserRecords(session).first_of(tenant_id), ""
