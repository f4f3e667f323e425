"""Verifies the tokens of an outside issuer (OpenID Connect Core 1.0, RFC 9068, RFC 8725)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from joserfc.jwt import JWTClaimsRegistry

from services.auth.clock import Clock
from services.auth.errors import ExternalTokenInvalid
from services.auth.external.keys import ExternalKeys, http_client
from services.auth.external.rules import IssuerRules

MAX_TOKEN_CHARACTERS = 8192
# OpenID Connect Core 1.0, section 2: `sub` has at most 255 ASCII characters.
MAX_SUBJECT_CHARACTERS = 255
NAME_CLAIMS = ("preferred_username", "email", "sub")

log = structlog.get_logger("parley.auth")


class TokenKind(StrEnum):
    """What a token was made for, and so what its header's `typ` may be."""

    ID = "id"
    ACCESS = "access"


TYPES: Mapping[TokenKind, frozenset[str | None]] = {
    TokenKind.ID: frozenset({None, "jwt"}),
    TokenKind.ACCESS: frozenset({"at+jwt", "application/at+jwt"}),
}


@dataclass(frozen=True)
class ExternalUser:
    """Whom an issuer's token stands for.

    Attributes:
        issuer: The issuer.
        subject: Its name for the user, which it gives to nobody else.
        name: What it says people call the user; nothing is decided by it.
        roles: The roles here that its claims stand for.
    """

    issuer: str
    subject: str
    name: str
    roles: frozenset[str]


class ExternalIssuer:
    """Takes one issuer's tokens."""

    def __init__(self, rules: IssuerRules, keys: ExternalKeys, clock: Clock) -> None:
        """Take tokens under these rules, signed with these keys."""
        self.rules = rules
        self._keys = keys
        self._registry = JWTClaimsRegistry(
            now=lambda: int(clock().timestamp()),
            leeway=int(rules.leeway.total_seconds()),
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "value": rules.audience},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )

    async def verify(self, token: str, kind: TokenKind) -> ExternalUser:
        """Check a token.

        Raises:
            ExternalTokenInvalid: It is not the issuer's, not for us, of another
                kind, over, or not good yet; which of these is only logged.
            DependencyUnavailable: The issuer's keys cannot be had.
        """
        try:
            header = _header(token)
            self._check_header(header, kind)
            keys = await self._keys.get(header.get("kid"))
            claims = jwt.decode(token, keys, algorithms=list(self.rules.algorithms)).claims
            self._registry.validate(claims)
            self._check_parties(claims)
            return _user(claims, self.rules)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            log.info("external token refused", kind=kind.value, why=type(error).__name__)
            raise ExternalTokenInvalid from None

    def _check_header(self, header: Mapping[str, Any], kind: TokenKind) -> None:
        """Refuse by the header before any key is looked for.

        Raises:
            ValueError: Another algorithm or type.
            TypeError: A key id that is no text.
        """
        if header.get("alg") not in self.rules.algorithms:
            raise ValueError("algorithm")
        declared = header.get("typ")
        if (declared.lower() if isinstance(declared, str) else declared) not in TYPES[kind]:
            raise ValueError("type")
        if not isinstance(header.get("kid"), str | None):
            raise TypeError("key id")

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        """Refuse a token that another client got (OpenID Connect Core 1.0, section 3.1.3.7).

        Raises:
            ValueError: It names another authorized party, or several audiences and none.
        """
        audience, party = claims["aud"], claims.get("azp")
        several = isinstance(audience, list) and len(audience) > 1
        if party != self.rules.audience and (party is not None or several):
            raise ValueError("authorized party")


@asynccontextmanager
async def trusted_issuer(rules: IssuerRules | None, clock: Clock) -> AsyncIterator[ExternalIssuer | None]:
    """The issuer that these rules trust, if any, with its connections open until the block's end.

    Raises:
        OSError: The file of its authority cannot be read.
    """
    if rules is None:
        yield None
        return
    async with http_client(rules) as client:
        yield ExternalIssuer(rules, ExternalKeys(rules, client), clock)


def _header(token: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise ValueError("length")
    return dict(extract_compact(token.encode()).headers())


def _user(claims: Mapping[str, Any], rules: IssuerRules) -> ExternalUser:
    subject = claims["sub"]
    if not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isascii() or not subject.isprintable():
        raise ValueError("subject")
    stated = (claims.get(name) for name in NAME_CLAIMS)
    name = next(text for text in stated if isinstance(text, str) and text)
    return ExternalUser(rules.issuer, subject, name, rules.roles_of(claims))
