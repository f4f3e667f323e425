"""Users whom an outside issuer knows, in the database."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.external_models import ExternalIdentity
from services.auth.store.models import Tenant


class ExternalRecords:
    """External identities within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def find(self, issuer: str, subject: str) -> ExternalIdentity | None:
        """Who an issuer's subject is here."""
        return await self._session.get(ExternalIdentity, (issuer, subject))

    def add(self, identity: ExternalIdentity) -> None:
        """Store a new identity."""
        self._session.add(identity)

    async def tenant(self, name: str) -> Tenant | None:
        """The tenant of this name."""
        return (await self._session.scalars(select(Tenant).where(Tenant.name == name))).one_or_none()
