"""Access tokens: JWTs as RFC 9068 profiles them, signed with ES256."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.jwk import KeySet
from ulid import ULID

from services.auth.clock import Clock
from services.auth.grants import Grant
from services.auth.signing_keys import SigningKeys
from services.rpc.call import note
from services.rpc.principal import ALGORITHM, TOKEN_TYPE, Principal, service_audience


@dataclass(frozen=True)
class AccessToken:
    """A signed token.

    Attributes:
        text: The token.
        expires_at: When it is over.
    """

    text: str = field(repr=False)
    expires_at: datetime


class AccessTokens:
    """Signs access tokens and tells how to verify them."""

    def __init__(
        self, keys: SigningKeys, clock: Clock, *, issuer: str, audience: str, life: timedelta
    ) -> None:
        """Sign with these keys.

        Args:
            keys: The ring of signing keys.
            clock: Gives the time of issue.
            issuer: The claim `iss`.
            audience: The claim `aud`.
            life: How long a token is good for, unless its grant ends before.
        """
        self._keys = keys
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        self._life = life

    def issue(self, grant: Grant) -> AccessToken:
        """Sign a token for this grant."""
        issued_at = self._clock()
        now = issued_at.replace(microsecond=0)
        expires_at = min(now + self._life, grant.not_after or now + self._life)
        principal = Principal(
            user_id=grant.user_id,
            username=grant.username,
            tenant_id=grant.tenant_id,
            roles=grant.roles,
            permissions=grant.permissions,
            session_id=grant.session_id,
            key_id=grant.key_id,
            token_id=str(ULID.from_datetime(issued_at)),
            expires_at=expires_at,
            token="",
        )
        note(
            tenant_id=grant.tenant_id,
            user_id=grant.user_id,
            session_id=grant.session_id,
            key_id=grant.key_id,
            token_id=principal.token_id,
        )
        return self._sign(principal, self._audience)

    def delegate(
        self, subject: Principal, *, actor: str, at: str, permissions: frozenset[str], expires_at: datetime
    ) -> AccessToken:
        """Sign a token with which a service acts for a subject, at one other service (RFC 8693).

        It counts as issued when the subject's own was, so that whatever
        revokes that revokes it too.

        Args:
            subject: The caller to act for.
            actor: The service that acts.
            at: The service that takes it.
            permissions: What it permits.
            expires_at: When it ends.
        """
        token_id = str(ULID.from_datetime(subject.issued_at))
        delegated = replace(
            subject, actor=actor, permissions=permissions, expires_at=expires_at, token_id=token_id
        )
        return self._sign(delegated, service_audience(self._audience, at))

    def _sign(self, principal: Principal, audience: str) -> AccessToken:
        key = self._keys.signer()
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": key.kid}
        issued = {"iss": self._issuer, "aud": audience, "iat": int(self._clock().timestamp())}
        text = jwt.encode(header, {**issued, **principal.claims()}, key)
        return AccessToken(text, principal.expires_at)

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys that a good token may be signed with, as JWKs."""
        return [
            {name: str(value) for name, value in key.as_dict(private=False).items()}
            for key in self._keys.published()
        ]

    async def key_set(self) -> KeySet:
        """The same, for a verifier in this process."""
        return KeySet.import_key_set(
            {"keys": [dict[str, str | list[str]](jwk) for jwk in self.public_jwks()]}
        )
