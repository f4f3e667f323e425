"""API keys in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from services.auth.store.models import ApiKey
from services.auth.store.users import RIGHTS


class KeyRecords:
    """API keys within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def add(self, key: ApiKey) -> None:
        """Store a new key."""
        self._session.add(key)
        await self._session.flush()

    async def presented(self, prefix: str, digest: bytes) -> ApiKey | None:
        """The key with this prefix and digest, with owner, tenant and roles, in one query.

        A wrong secret and an unknown prefix are the same to it: a row that is not there. How far two
        digests agree would tell nothing of the secrets.
        """
        query = select(ApiKey).where(ApiKey.prefix == prefix, ApiKey.digest == digest)
        query = query.options(joinedload(ApiKey.user).options(*RIGHTS))
        return (await self._session.scalars(query)).unique().one_or_none()

    async def by_id(self, tenant_id: str, key_id: str) -> ApiKey | None:
        """The tenant's key with this id, with its owner's rights."""
        query = select(ApiKey).where(ApiKey.tenant_id == tenant_id, ApiKey.key_id == key_id)
        query = query.options(joinedload(ApiKey.user).options(*RIGHTS))
        return (await self._session.scalars(query)).unique().one_or_none()

    async def page(self, tenant_id: str, user_id: str | None, after: str, size: int) -> Sequence[ApiKey]:
        """Keys, newest first.

        Args:
            tenant_id: Whose.
            user_id: Whose of the tenant; None means everyone's.
            after: The id of the key that the page before ended with; empty for the first.
            size: How many at most.
        """
        query = select(ApiKey).where(ApiKey.tenant_id == tenant_id)
        if user_id is not None:
            query = query.where(ApiKey.user_id == user_id)
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
