"""The roles that tenants make beside the built-in ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.clock import Clock
from services.auth.delegation import require_held
from services.auth.errors import NameTaken, RoleBuiltIn, RoleInUse, RoleNotFound
from services.auth.repeats import Repeat
from services.auth.revocations import revoke
from services.auth.roles import BUILT_IN, DESCRIPTIONS, first_beyond
from services.auth.store.models import Role
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.roles import RoleRecords
from services.auth.store.tenants import TenantRecords
from services.auth.store.users import UserRecords
from services.auth.updates import require_current
from services.rpc.principal import Principal
from services.sql.database import Database

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class NamedRole:
    """A role, built in or a tenant's own.

    Attributes:
        name: Its name.
        description: What it is for.
        permissions: What it permits, sorted.
        create_time: When it was made; None for a built-in one.
        version: Which state of it this is; 0 for a built-in one.
    """

    name: str
    description: str
    permissions: tuple[str, ...]
    create_time: datetime | None = None
    version: int = 0

    @property
    def built_in(self) -> bool:
        """Whether it is the same in every tenant."""
        return self.name in BUILT_IN


@dataclass(frozen=True)
class RoleChanges:
    """What shall change; None leaves as it is.

    Attributes:
        description: What the role is for.
        permissions: What it permits.
    """

    description: str | None = None
    permissions: Collection[str] | None = None


BUILT_IN_ROLES = tuple(
    NamedRole(name, DESCRIPTIONS[name], tuple(sorted(permissions))) for name, permissions in BUILT_IN.items()
)


async def permissions_within(session: AsyncSession, tenant_id: str, names: Iterable[str]) -> frozenset[str]:
    """What roles of these names grant together in a tenant.

    Raises:
        RoleNotFound: The tenant has no such role.
    """
    records = RoleRecords(session, tenant_id)
    granted: set[str] = set()
    for name in names:
        granted.update(BUILT_IN[name] if name in BUILT_IN else (await _own(records, name)).permissions)
    return frozenset(granted)


class TenantRoles:
    """Makes, shows, changes and deletes the roles of the caller's tenant."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work with these parts."""
        self._database = database
        self._clock = clock

    async def create(self, caller: Principal, wanted: NamedRole, repeat: Repeat) -> NamedRole:
        """Make a role, or give the one that this request made before.

        Raises:
            GrantExceedsCaller: It would permit what the caller may not.
            NameTaken: There is a role of this name.
            RequestIdReused: The request id was used for another request.
        """
        async with self._database.writing() as session:
            await TenantRecords(session).lock(caller.tenant_id)
            records = RoleRecords(session, caller.tenant_id)
            if earlier := await repeat.earlier(session):
                return _named(await _own(records, earlier))
            require_held(caller, wanted.permissions)
            if wanted.built_in or await records.by_name(wanted.name) is not None:
                raise NameTaken(wanted.name)
            role = Role(
                tenant_id=caller.tenant_id,
                name=wanted.name,
                description=wanted.description,
                permissions=sorted(wanted.permissions),
                create_time=self._clock(),
            )
            await records.add(role)
            repeat.note(session, role.name, role.create_time)
        log.info("role created", role=role.name, by=caller.user_id, permissions=role.permissions)
        return _named(role)

    async def get(self, caller: Principal, name: str) -> NamedRole:
        """The role of this name.

        Raises:
            RoleNotFound: The tenant has none.
        """
        for role in BUILT_IN_ROLES:
            if role.name == name:
                return role
        async with self._database.reading() as session:
            return _named(await _own(RoleRecords(session, caller.tenant_id), name))

    async def page(self, caller: Principal, after: str, size: int) -> Sequence[NamedRole]:
        """Roles by name, beginning after the name `after` if it is given."""
        async with self._database.reading() as session:
            own = await RoleRecords(session, caller.tenant_id).all()
        roles = sorted([*BUILT_IN_ROLES, *map(_named, own)], key=lambda role: role.name)
        return [role for role in roles if role.name > after][:size]

    async def update(self, caller: Principal, name: str, changes: RoleChanges, etag: str) -> NamedRole:
        """Change a role.

        Raises:
            RoleBuiltIn: It cannot be changed.
            RoleNotFound: The tenant has none of this name.
            EtagMismatch: The change is based on an earlier state.
            GrantExceedsCaller: It permits, or would, what the caller may not.
        """
        async with self._changing(caller, name) as (session, role):
            require_current(etag, role.version)
            if changes.description is not None:
                role.description = changes.description
            if changes.permissions is not None:
                require_held(caller, changes.permissions)
                if first_beyond(role.permissions, changes.permissions) is not None:
                    await self._end_tokens(session, role)
                role.permissions = sorted(changes.permissions)
            role.version += 1
        return _named(role)

    async def _end_tokens(self, session: AsyncSession, role: Role) -> None:
        """End the tokens of those who lose something; the next ones have what is left."""
        holders = await RoleRecords(session, role.tenant_id).holders(role.name)
        await UserRecords(session).renew(holders)
        await revoke(session, kind=RevocationKind.USER, subject_ids=holders, now=self._clock())

    async def delete(self, caller: Principal, name: str) -> None:
        """Forget a role.

        Raises:
            RoleBuiltIn: It cannot be deleted.
            RoleNotFound: The tenant has none of this name.
            GrantExceedsCaller: It permits what the caller may not.
            RoleInUse: Someone has it.
        """
        async with self._changing(caller, name) as (session, role):
            records = RoleRecords(session, caller.tenant_id)
            if await records.holders(name):
                raise RoleInUse(name)
            await records.delete(role)

    @asynccontextmanager
    async def _changing(self, caller: Principal, name: str) -> AsyncIterator[tuple[AsyncSession, Role]]:
        """A transaction that changes a role which the caller may change."""
        if name in BUILT_IN:
            raise RoleBuiltIn(name)
        async with self._database.writing() as session:
            await TenantRecords(session).lock(caller.tenant_id)
            role = await _own(RoleRecords(session, caller.tenant_id), name)
            require_held(caller, role.permissions)
            yield session, role
        log.info("role changed", role=name, by=caller.user_id)


async def _own(records: RoleRecords, name: str) -> Role:
    role = await records.by_name(name)
    if role is None:
        raise RoleNotFound(name)
    return role


def _named(role: Role) -> NamedRole:
    return NamedRole(role.name, role.description, tuple(role.permissions), role.create_time, role.version)
