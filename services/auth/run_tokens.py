"""Tokens with which a service acts for a caller whose own token may be over before the work is (RFC 8693)."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from services.auth.clock import Clock
from services.auth.revocations import RevocationLog
from services.auth.roles import intersection
from services.auth.store.database import Database
from services.auth.store.keys import KeyRecords
from services.auth.store.sessions import SessionRecords
from services.auth.tokens import AccessToken, AccessTokens
from services.rpc.errors import TokenRevoked
from services.rpc.principal import Principal
from services.rpc.verifier import Verifier

# A run acts through tools; whatever else its caller may do is none of its business.
PERMITTED = ("tools.*",)
AT = "tools"

log = structlog.get_logger("parley.auth")


class RunTokens:
    """Exchanges a caller's token for one that a run keeps."""

    def __init__(
        self,
        database: Database,
        verifier: Verifier,
        revocations: RevocationLog,
        tokens: AccessTokens,
        clock: Clock,
        longest: timedelta,
    ) -> None:
        """Work with these parts; no token lives longer than `longest`."""
        self._database = database
        self._verifier = verifier
        self._revocations = revocations
        self._tokens = tokens
        self._clock = clock
        self._longest = longest

    async def exchange(self, subject_token: str, actor: str, life: timedelta) -> AccessToken:
        """A token with which the actor calls tools for the subject.

        It is revoked by whatever revokes the subject's own, and does not
        outlive the key or the session that this was made from.

        Args:
            subject_token: The caller's own token.
            actor: The service that acts.
            life: For how long.

        Raises:
            TokenExpired: The subject's token is over.
            TokenInvalid: It is none of ours.
            TokenRevoked: It was revoked.
            DependencyUnavailable: The database does not answer.
        """
        subject = await self._verifier.verify(subject_token)
        await self._revocations.known.check(subject)
        now = self._clock()
        end = await self._end_of(subject, now)
        log.info("token for a run", user_id=subject.user_id, actor=actor)
        return self._tokens.delegate(
            subject,
            actor=actor,
            at=AT,
            permissions=intersection(subject.permissions, PERMITTED),
            expires_at=min(now + life, now + self._longest, end),
        )

    async def _end_of(self, subject: Principal, now: datetime) -> datetime:
        """When the key or the session ends by itself.

        Raises:
            TokenRevoked: It has ended, or its user is disabled.
        """
        async with self._database.reading() as session:
            if subject.key_id:
                key = await KeyRecords(session).by_id(subject.tenant_id, subject.key_id)
                if key is None or not key.live(now) or not key.user.active():
                    raise TokenRevoked
                return key.expire_time or now + self._longest
            login = await SessionRecords(session).live(subject.tenant_id, subject.session_id, now)
            if login is None or not login.user.active():
                raise TokenRevoked
            return login.expire_time
