"""API keys in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from services.auth.store.models import ApiKey, ServedRequest, User


class KeyRecords:
    """API keys within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def add(self, key: ApiKey, served: ServedRequest | None) -> None:
        """Store a new key, and the request that asked for it if it may be repeated.

        Raises:
            sqlalchemy.exc.IntegrityError: The request was served a moment ago.
        """
        self._session.add(key)
        if served is not None:
            self._session.add(served)
        await self._session.flush()

    async def served(self, user_id: str, request_id: str) -> ServedRequest | None:
        """What was made for this request id."""
        return await self._session.get(ServedRequest, (user_id, request_id))

    async def by_prefix(self, prefix: str) -> ApiKey | None:
        """The key with this prefix, with owner, tenant and roles, in one query."""
        owner = joinedload(ApiKey.user)
        query = (
            select(ApiKey)
            .where(ApiKey.prefix == prefix)
            .options(owner.joinedload(User.tenant), owner.joinedload(User.roles))
        )
        return (await self._session.scalars(query)).unique().one_or_none()

    async def owned(self, tenant_id: str, user_id: str, key_id: str) -> ApiKey | None:
        """The user's key with this id."""
        query = select(ApiKey).where(
            ApiKey.tenant_id == tenant_id, ApiKey.user_id == user_id, ApiKey.key_id == key_id
        )
        return (await self._session.scalars(query)).one_or_none()

    async def page(self, tenant_id: str, user_id: str, after: str, size: int) -> Sequence[ApiKey]:
        """The user's keys, newest first, beginning after the key with the id `after` if it is given."""
        query = select(ApiKey).where(ApiKey.tenant_id == tenant_id, ApiKey.user_id == user_id)
        if after:
            query = query.where(ApiKey.key_id < after)
        return (await self._session.scalars(query.order_by(ApiKey.key_id.desc()).limit(size))).all()

    async def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Write when keys were last used; a later use that another replica wrote stands."""
        for key_id, time in sorted(uses.items()):
            earlier = or_(ApiKey.last_use_time.is_(None), ApiKey.last_use_time < time)
            await self._session.execute(
                update(ApiKey).where(ApiKey.key_id == key_id, earlier).values(last_use_time=time)
            )

    async def prune_served(self, before: datetime) -> None:
        """Forget requests served before this time."""
        await self._session.execute(delete(ServedRequest).where(ServedRequest.create_time < before))
