"""Tenants in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.models import Tenant


class TenantRecords:
    """Tenants within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def add(self, tenant: Tenant) -> None:
        """Store a new tenant.

        Raises:
            sqlalchemy.exc.IntegrityError: One is called so.
        """
        self._session.add(tenant)
        await self._session.flush()

    async def by_id(self, tenant_id: str) -> Tenant | None:
        """The tenant with this id."""
        return await self._session.get(Tenant, tenant_id)

    async def lock(self, tenant_id: str, *, against_logins: bool = False) -> Tenant:
        """The tenant, with every other change to its users and roles waiting for this transaction.

        Rules over several rows, such as that an administrator must be left,
        would not hold against two changes at once. Logins wait only for who
        would shut them out (see `UserRecords.hold`).
        """
        query = select(Tenant).where(Tenant.tenant_id == tenant_id)
        query = query.with_for_update(key_share=not against_logins)
        # What was read of it before may be old by now.
        return (await self._session.scalars(query, execution_options={"populate_existing": True})).one()

    async def name_taken(self, name: str) -> bool:
        """Whether a tenant is called so."""
        return await self._session.scalar(select(Tenant.tenant_id).where(Tenant.name == name)) is not None

    async def page(self, after: str, size: int) -> Sequence[Tenant]:
        """Tenants, newest first, beginning after the id `after` if it is given."""
        query = select(Tenant)
        if after:
            query = query.where(Tenant.tenant_id < after)
        return (await self._session.scalars(query.order_by(Tenant.tenant_id.desc()).limit(size))).all()
