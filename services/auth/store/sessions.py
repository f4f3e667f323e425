"""Login sessions and their refresh tokens in the database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from services.auth.store.models import LoginSession, RefreshToken, User
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.revocations import RevocationRecords


class SessionRecords:
    """Sessions within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def add(self, login: LoginSession, first: RefreshToken) -> None:
        """Store a new session with its first refresh token."""
        self._session.add(login)
        await self._session.flush()
        self._session.add(first)

    def add_token(self, token: RefreshToken) -> None:
        """Store a further refresh token of a session."""
        self._session.add(token)

    async def token(self, digest: bytes) -> RefreshToken | None:
        """The refresh token with this digest, with session, user, tenant and roles."""
        user = joinedload(RefreshToken.session).joinedload(LoginSession.user)
        query = (
            select(RefreshToken)
            .where(RefreshToken.digest == digest)
            .options(user.joinedload(User.tenant), user.joinedload(User.roles))
        )
        return (await self._session.scalars(query)).unique().one_or_none()

    async def use(self, digest: bytes, now: datetime) -> bool:
        """Mark a refresh token used; False if it was already, even a moment ago by another replica."""
        marked = await self._session.execute(
            update(RefreshToken)
            .where(RefreshToken.digest == digest, RefreshToken.use_time.is_(None))
            .values(use_time=now)
            .returning(RefreshToken.digest)
        )
        return marked.first() is not None

    async def end(self, session_id: str, now: datetime) -> None:
        """End a session, and with it the access tokens made from it; its first end stands."""
        ended = await self._session.execute(
            update(LoginSession)
            .where(LoginSession.session_id == session_id, LoginSession.end_time.is_(None))
            .values(end_time=now)
            .returning(LoginSession.session_id)
        )
        if ended.first() is not None:
            await RevocationRecords(self._session).add(RevocationKind.SESSION, session_id, now)

    async def prune(self, before: datetime) -> None:
        """Forget sessions that ended by themselves before this time, tokens included."""
        await self._session.execute(delete(LoginSession).where(LoginSession.expire_time < before))
