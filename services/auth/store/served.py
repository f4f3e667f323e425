"""Requests that carried a request id, in the database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.models import ServedRequest


class ServedRecords:
    """Served requests within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def find(self, user_id: str, request_id: str) -> ServedRequest | None:
        """What was made for this request id of this caller."""
        return await self._session.get(ServedRequest, (user_id, request_id))

    def add(self, served: ServedRequest) -> None:
        """Store that a request was served."""
        self._session.add(served)

    async def prune(self, before: datetime) -> None:
        """Forget requests served before this time."""
        await self._session.execute(delete(ServedRequest).where(ServedRequest.create_time < before))
