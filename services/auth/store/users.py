"""Users in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from services.auth.names import canonical
from services.auth.roles import ADMIN
from services.auth.store.models import Tenant, User, UserKind, UserRole

# What a user may do needs the tenant, the roles, and what the tenant's own roles permit.
RIGHTS = (joinedload(User.tenant), joinedload(User.roles).joinedload(UserRole.custom))


@dataclass(frozen=True)
class UserFilter:
    """Which users to list.

    Attributes:
        kind: Only this kind; None means any.
        active: Only those that are, or are not, disabled; None means both.
        role: Only those with this role; empty means any.
        username_prefix: Only those whose name begins so; empty means any.
    """

    kind: UserKind | None = None
    active: bool | None = None
    role: str = ""
    username_prefix: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as SQL."""
        conditions: list[ColumnElement[bool]] = []
        if self.kind is not None:
            conditions.append(User.kind == self.kind)
        if self.active is not None:
            conditions.append(User.disable_time.is_(None) if self.active else User.disable_time.is_not(None))
        if self.role:
            conditions.append(User.roles.any(UserRole.role == self.role))
        if self.username_prefix:
            prefix = canonical(self.username_prefix)
            conditions.append(User.canonical_username.startswith(prefix, autoescape=True))
        return conditions


class UserRecords:
    """Users within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def count(self) -> int:
        """How many users there are, over all tenants."""
        return await self._session.scalar(select(func.count()).select_from(User)) or 0

    async def add(self, user: User) -> None:
        """Store a new user.

        Raises:
            sqlalchemy.exc.IntegrityError: Someone is called so.
        """
        self._session.add(user)
        await self._session.flush()

    async def choose_password(self, user: User, password_hash: str) -> bool:
        """Store the password that a user chose; False if it was changed since the user was read."""
        query = update(User).where(User.user_id == user.user_id, User.version == user.version)
        chosen = query.values(
            password_hash=password_hash, password_expire_time=None, version=User.version + 1
        )
        return (await self._session.execute(chosen.returning(User.user_id))).first() is not None

    async def change(self, user: User) -> None:
        """Note that a user changes, once nobody holds the user any more.

        The time of a revocation is taken after it: all tokens with the rights before are older then.
        """
        user.version += 1
        await self._session.flush()

    async def renew(self, user_ids: Sequence[str]) -> None:
        """Note that users changed, so that no token made before is used on."""
        query = update(User).where(User.user_id.in_(user_ids)).values(version=User.version + 1)
        await self._session.execute(query)

    async def first_of(self, tenant_id: str) -> str:
        """The id of the tenant's oldest user."""
        return (
            await self._session.scalar(select(func.min(User.user_id)).where(User.tenant_id == tenant_id))
            or ""
        )

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
        query = select(User).where(*conditions).options(*RIGHTS)
        return (await self._session.scalars(query)).unique().one_or_none()

    async def hold(self, user: User) -> bool:
        """Keep a user from being changed, and the tenant from being disabled, until the transaction ends.

        False if that happened already. A token is signed meanwhile: one made
        from rights that are taken away at the same moment would be younger
        than the revocation, and good.
        """
        tenant = select(Tenant.disable_time).where(Tenant.tenant_id == user.tenant_id)
        if await self._session.scalar(tenant.with_for_update(read=True, key_share=True)) is not None:
            return False
        query = select(User.version).where(User.user_id == user.user_id)
        return await self._session.scalar(query.with_for_update(read=True)) == user.version

    async def page(self, tenant_id: str, wanted: UserFilter, after: str, size: int) -> Sequence[User]:
        """The tenant's users, newest first, beginning after the id `after` if it is given."""
        query = select(User).where(User.tenant_id == tenant_id, *wanted.conditions())
        if after:
            query = query.where(User.user_id < after)
        query = query.options(selectinload(User.roles)).order_by(User.user_id.desc()).limit(size)
        return (await self._session.scalars(query)).all()

    async def name_taken(self, username: str) -> bool:
        """Whether someone of any tenant is called so."""
        query = select(User.user_id).where(User.canonical_username == canonical(username))
        return await self._session.scalar(query) is not None

    async def other_admins(self, tenant_id: str, user_id: str) -> bool:
        """Whether someone else of the tenant is an administrator who can log in."""
        query = (
            select(User.user_id)
            .join(User.roles)
            .where(
                User.tenant_id == tenant_id,
                User.user_id != user_id,
                User.kind == UserKind.PERSON,
                User.disable_time.is_(None),
                UserRole.role == ADMIN,
            )
            .limit(1)
        )
        return await self._session.scalar(query) is not None
