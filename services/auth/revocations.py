"""Revocations: what ends access tokens before their time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.revocation_models import RevocationKind
from services.auth.store.revocations import RevocationRecords


async def revoke(session: AsyncSession, *, kind: RevocationKind, subject_id: str, now: datetime) -> None:
    """Make every service refuse a subject's tokens within a second of the commit.

    Call it last in the transaction that ends the subject: either both are
    stored or neither is.

    Args:
        session: The transaction.
        kind: What the subject is.
        subject_id: The id of the key, session, user or tenant.
        now: Tokens issued until then are refused; later ones, made after a
            disabled user was enabled again, are good.
    """
    await RevocationRecords(session).add(kind, subject_id, now)
