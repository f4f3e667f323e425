"""Who calls, and what the caller may do.

The claims are those of RFC 9068 (JWT profile for OAuth 2.0 access tokens);
`tenant`, `sid`, `key_id` and `roles` are added. A token with which a service acts
for a caller has the claim `act` (RFC 8693, section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ulid import ULID

from services.rpc.errors import PermissionMissing

TOKEN_TYPE = "at+jwt"  # noqa: S105 - the header `typ` of RFC 9068, section 2.1
ALGORITHM = "ES256"
AT = "/"


@dataclass(frozen=True)
class Principal:
    """A caller whose token was verified.

    Attributes:
        user_id: The user's id.
        username: The user's name, for people.
        tenant_id: The tenant that the user belongs to.
        roles: Names of the user's roles, sorted.
        permissions: What the token permits; a trailing `*` covers all below.
        session_id: The login session; empty for a key.
        key_id: The API key that the token was made from; empty for a login.
        token_id: The token's own id, a ULID: it tells when the token was issued, to the millisecond.
        expires_at: When the token ends.
        token: The token itself, to act for the caller at another service.
        actor: The service that acts for the caller with a token of its own; empty for the caller's.
        at: The one service that such a token is for.
    """

    user_id: str
    username: str
    tenant_id: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    session_id: str
    key_id: str
    token_id: str
    expires_at: datetime
    token: str = field(repr=False)
    actor: str = ""
    at: str = ""

    @cached_property
    def issued_at(self) -> datetime:
        """When the token was issued. The claim `iat` knows only the second."""
        return ULID.from_str(self.token_id).datetime

    def may(self, permission: str) -> bool:
        """Whether the token permits this."""
        return permits(self.permissions, permission)

    def require(self, permission: str) -> None:
        """Refuse a caller whose token does not permit this.

        Raises:
            PermissionMissing: It does not.
        """
        if not self.may(permission):
            raise PermissionMissing(permission)

    def claims(self) -> dict[str, Any]:
        """The claims that describe this caller; the issuer adds its own."""
        acting = {"act": {"sub": self.actor}} if self.actor else {}
        return {
            **acting,
            "sub": self.user_id,
            "preferred_username": self.username,
            "tenant": self.tenant_id,
            "roles": list(self.roles),
            "scope": " ".join(sorted(self.permissions)),
            "sid": self.session_id,
            "key_id": self.key_id,
            "jti": self.token_id,
            "exp": int(self.expires_at.timestamp()),
        }

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any], token: str) -> Principal:
        """Read the caller from verified claims.

        Raises:
            KeyError: A claim is missing.
            ValueError: A claim has another form than ours.
        """
        acting = "act" in claims
        return cls(
            user_id=str(claims["sub"]),
            username=str(claims["preferred_username"]),
            tenant_id=str(claims["tenant"]),
            roles=tuple(str(role) for role in claims["roles"]),
            permissions=frozenset(str(claims["scope"]).split()),
            session_id=str(claims["sid"]),
            key_id=str(claims["key_id"]),
            token_id=str(ULID.from_str(str(claims["jti"]))),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
            token=token,
            actor=str(claims["act"]["sub"]) if acting else "",
            at=str(claims["aud"]).rpartition(AT)[2] if acting else "",
        )


def service_audience(audience: str, service: str) -> str:
    """The audience of tokens for one service alone; `audience` is the one of tokens for all."""
    return f"{audience}{AT}{service}"


def permits(granted: Iterable[str], permission: str) -> bool:
    """Whether one of the granted permissions covers this one.

    `tools.*` covers `tools.math.calculator`; `*` covers all; anything else only
    itself.
    """
    return any(
        grant == permission or grant == "*" or (grant.endswith(".*") and permission.startswith(grant[:-1]))
        for grant in granted
    )
