"""Login sessions and their refresh tokens in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from services.auth.store.models import LoginSession, RefreshToken, Tenant, User
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.revocations import RevocationRecords
from services.auth.store.users import RIGHTS


def _live_of(tenant_id: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        LoginSession.tenant_id == tenant_id,
        LoginSession.end_time.is_(None),
        LoginSession.expire_time > now,
    )


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
        query = select(RefreshToken).where(RefreshToken.digest == digest).options(user.options(*RIGHTS))
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

    async def hold_user(self, digest: bytes) -> None:
        """Keep the user whose refresh token this is, and the tenant, as `UserRecords.hold` does."""
        tenant = (
            select(Tenant.tenant_id)
            .join(RefreshToken, RefreshToken.tenant_id == Tenant.tenant_id)
            .where(RefreshToken.digest == digest)
        )
        await self._session.execute(tenant.with_for_update(read=True, key_share=True, of=Tenant))
        query = (
            select(User.user_id)
            .join(LoginSession, LoginSession.user_id == User.user_id)
            .join(RefreshToken, RefreshToken.session_id == LoginSession.session_id)
            .where(RefreshToken.digest == digest)
        )
        await self._session.execute(query.with_for_update(read=True, of=User))

    async def live(self, tenant_id: str, session_id: str, now: datetime) -> LoginSession | None:
        """The tenant's session with this id, with its user's rights, unless it is over."""
        query = select(LoginSession).where(*_live_of(tenant_id, now), LoginSession.session_id == session_id)
        query = query.options(joinedload(LoginSession.user).options(*RIGHTS))
        return (await self._session.scalars(query)).unique().one_or_none()

    async def page(
        self, tenant_id: str, user_id: str, now: datetime, after: str, size: int
    ) -> Sequence[LoginSession]:
        """The user's live sessions, newest first, beginning after the id `after` if it is given."""
        query = select(LoginSession).where(*_live_of(tenant_id, now), LoginSession.user_id == user_id)
        if after:
            query = query.where(LoginSession.session_id < after)
        return (await self._session.scalars(query.order_by(LoginSession.session_id.desc()).limit(size))).all()

    async def end_all(self, tenant_id: str, user_id: str, now: datetime, *, but: str = "") -> int:
        """End a user's live sessions, but the one with the id `but`; say how many there were."""
        theirs = (*_live_of(tenant_id, now), LoginSession.user_id == user_id)
        return await self._end(now, *theirs, LoginSession.session_id != but)

    async def end(self, session_id: str, now: datetime) -> None:
        """End a session, and with it the access tokens made from it; its first end stands."""
        await self._end(now, LoginSession.session_id == session_id, LoginSession.end_time.is_(None))

    async def _end(self, now: datetime, *which: ColumnElement[bool]) -> int:
        revocations = RevocationRecords(self._session)
        await revocations.lock()  # before the rows: two who end several would else wait for each other
        query = update(LoginSession).where(*which).values(end_time=now).returning(LoginSession.session_id)
        ended = (await self._session.scalars(query)).all()
        await revocations.add(RevocationKind.SESSION, ended, now)
        return len(ended)

    async def prune(self, before: datetime) -> None:
        """Forget sessions that ended by themselves before this time, tokens included."""
        await self._session.execute(delete(LoginSession).where(LoginSession.expire_time < before))
