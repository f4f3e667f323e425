"""The roles that tenants made, in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.models import Role, UserRole


class RoleRecords:
    """Roles of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        """Work in this transaction, for this tenant."""
        self._session = session
        self._tenant_id = tenant_id

    async def by_name(self, name: str) -> Role | None:
        """The role of this name."""
        return await self._session.get(Role, (self._tenant_id, name))

    async def all(self) -> Sequence[Role]:
        """Every role, by name."""
        query = select(Role).where(Role.tenant_id == self._tenant_id).order_by(Role.name)
        return (await self._session.scalars(query)).all()

    async def add(self, role: Role) -> None:
        """Store a new role."""
        self._session.add(role)
        await self._session.flush()

    async def delete(self, role: Role) -> None:
        """Forget a role."""
        await self._session.delete(role)

    async def holders(self, name: str) -> Sequence[str]:
        """The ids of the users who have a role."""
        query = select(UserRole.user_id).where(UserRole.tenant_id == self._tenant_id, UserRole.role == name)
        return (await self._session.scalars(query)).all()
