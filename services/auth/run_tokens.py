"""Tokens with which a service acts for a caller whose own token may be over before the work is (RFC 8693)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.auth.clock import Clock
from services.auth.revocations import RevocationLog
from services.auth.roles import intersection
from services.auth.store.keys import KeyRecords
from services.auth.store.sessions import SessionRecords
from services.auth.tokens import AccessToken, AccessTokens
from services.rpc.errors import TokenRevoked
from services.rpc.principal import Principal
from services.rpc.verifier import Verifier
from services.sql.database import Database


@dataclass(frozen=True)
class Delegation:
    """What a service is given to act for callers with.

    Attributes:
        at: The one service that takes the token.
        permissions: What it permits at most; whatever else the caller may do is
            none of the actor's business.
    """

    at: str
    permissions: tuple[str, ...]


MODELS = ("inference.chat", "models.*")

DELEGATIONS: Mapping[str, Delegation] = {
    # A run acts through tools, and one of those may ask a model.
    "inference": Delegation("tools", ("tools.*", *MODELS)),
    "tools": Delegation("inference", MODELS),
}

log = structlog.get_logger("parley.auth")


class RunTokens:
    """Exchanges a caller's token for one that a run keeps."""

    def __init__(
        self,
        database: Database,
        verifiers: Mapping[str, Verifier],
        revocations: RevocationLog,
        tokens: AccessTokens,
        clock: Clock,
        longest: timedelta,
    ) -> None:
        """Work with these parts; no token lives longer than `longest`.

        Args:
            database: Has the keys and sessions that subjects' tokens were made from.
            verifiers: What checks subjects' tokens, by the service that shows them.
            revocations: Tells which of them were revoked.
            tokens: Signs.
            clock: Tells the time.
            longest: The longest life of a token.
        """
        self._database = database
        self._verifiers = verifiers
        self._revocations = revocations
        self._tokens = tokens
        self._clock = clock
        self._longest = longest

    async def exchange(self, subject_token: str, actor: str, life: timedelta) -> AccessToken:
        """A token with which the actor calls one other service for the subject.

        It is revoked by whatever revokes the subject's own, and does not
        outlive the key or the session that this was made from.

        Args:
            subject_token: The caller's own token, or the one that another service acts for them with.
            actor: The service that acts.
            life: For how long.

        Raises:
            TokenExpired: The subject's token is over.
            TokenInvalid: It is none of ours.
            TokenRevoked: It was revoked.
            DependencyUnavailable: The database does not answer.
        """
        subject, delegation = await self._verifiers[actor].verify(subject_token), DELEGATIONS[actor]
        await self._revocations.known.check(subject)
        now = self._clock()
        end = await self._end_of(subject, now)
        log.info("token for a run", user_id=subject.user_id, actor=actor)
        return self._tokens.delegate(
            subject,
            actor=actor,
            at=delegation.at,
            permissions=intersection(subject.permissions, delegation.permissions),
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
