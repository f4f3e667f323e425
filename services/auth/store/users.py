"""Users and tenants in the database."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from services.auth.names import canonical
from services.auth.store.models import Tenant, User


class UserRecords:
    """Users within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def count(self) -> int:
        """How many users there are, over all tenants."""
        return await self._session.scalar(select(func.count()).select_from(User)) or 0

    async def add(self, tenant: Tenant, user: User) -> None:
        """Store a new tenant with its first user."""
        self._session.add(tenant)
        await self._session.flush()
        self._session.add(user)
        await self._session.flush()

    async def replace_hash(self, user: User, password_hash: str) -> None:
        """Store a new hash of the same password, unless the password was changed meanwhile."""
        await self._session.execute(
            update(User)
            .where(User.user_id == user.user_id, User.password_hash == user.password_hash)
            .values(password_hash=password_hash)
        )

    async def by_name(self, username: str) -> User | None:
        """The user of this name, tenant and roles included."""
        if "\0" in username:
            return None  # PostgreSQL's text cannot hold it, so nobody is called that
        return await self._one(User.canonical_username == canonical(username))

    async def by_id(self, tenant_id: str, user_id: str) -> User | None:
        """The user of this tenant with this id, tenant and roles included."""
        return await self._one(User.tenant_id == tenant_id, User.user_id == user_id)

    async def _one(self, *conditions: ColumnElement[bool]) -> User | None:
        query = select(User).where(*conditions).options(joinedload(User.tenant), joinedload(User.roles))
        return (await self._session.scalars(query)).unique().one_or_none()
