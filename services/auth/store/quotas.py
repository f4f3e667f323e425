"""Quotas in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.quota_models import Quota
from services.ledger.limits import Payer


class QuotaRecords:
    """Quotas within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def put(self, quota: Quota) -> None:
        """Store a quota in place of the one that its subject had."""
        await self._session.merge(quota)

    async def of(self, tenant_id: str, kind: str, name: str) -> Quota | None:
        """The quota of a subject."""
        return await self._session.get(Quota, (tenant_id, kind, name))

    async def page(self, tenant_id: str, after: tuple[str, str] | None, size: int) -> Sequence[Quota]:
        """The tenant's quotas by kind and name, beginning after that subject if it is given."""
        query = select(Quota).where(Quota.tenant_id == tenant_id)
        if after is not None:
            kind, name = after
            query = query.where(or_(Quota.kind > kind, and_(Quota.kind == kind, Quota.name > name)))
        return (await self._session.scalars(query.order_by(Quota.kind, Quota.name).limit(size))).all()

    async def delete(self, tenant_id: str, kind: str, name: str) -> None:
        """Forget the quota of a subject, if it has one."""
        subject = (Quota.tenant_id == tenant_id, Quota.kind == kind, Quota.name == name)
        await self._session.execute(delete(Quota).where(*subject))

    async def matching(self, payer: Payer, roles: Sequence[str]) -> Sequence[Quota]:
        """Every quota that a request of this payer, who has these roles, is subject to.

        The tenant's default counts only for users who have none by name or role.
        """
        subjects = or_(
            and_(Quota.kind == "user", Quota.name == payer.user_id),
            and_(Quota.kind == "role", Quota.name.in_(roles)),
            and_(Quota.kind == "key", Quota.name == payer.key_id),
            and_(Quota.kind == "model", Quota.name == payer.model),
            Quota.kind.in_(("tenant", "default")),
        )
        query = select(Quota).where(Quota.tenant_id == payer.tenant_id, subjects)
        found = (await self._session.scalars(query.order_by(Quota.kind, Quota.name))).all()
        has_own = any(quota.kind in ("user", "role") for quota in found)
        return [quota for quota in found if not (has_own and quota.kind == "default")]
