"""What is believed of an outside issuer's tokens, and what it means here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

# Signatures that only the issuer can make: nothing symmetric, and never `none` (RFC 8725, section 3.1).
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


@dataclass(frozen=True)
class IssuerRules:
    """An issuer, and what its tokens are taken for.

    Attributes:
        issuer: Its URL, exactly as its tokens name it.
        audience: Whom the tokens must be for: the client id that the issuer knows Parley by.
        jwks_url: Where its keys are; empty means where its discovery document says.
        algorithms: The only ones that its signatures may have.
        role_claim: The claim that says what its users are here; a dot leads into an object.
        roles: The roles here that a value of that claim stands for.
        tenant: Name of the tenant that its users belong to.
        leeway: How far its clock may be from ours.
        session_life: After this its users log in again there, so that those who left it are out here too.
        authority: PEM certificates that its server is trusted by; None takes the system's.
    """

    issuer: str
    audience: str
    tenant: str
    roles: Mapping[str, tuple[str, ...]]
    jwks_url: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    role_claim: str = "roles"
    leeway: timedelta = timedelta(seconds=10)
    session_life: timedelta = timedelta(hours=12)
    authority: Path | None = field(default=None)

    def roles_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """The roles that a token's claims give; a claim of another form gives none."""
        value: Any = claims
        for step in self.role_claim.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        stated = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        return frozenset(
            role for each in stated if isinstance(each, str) for role in self.roles.get(each, ())
        )


def check_url(url: str) -> str:
    """The URL, if what comes from it can be trusted on its way.

    Raises:
        ValueError: It is no URL, or neither `https` nor of this machine.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.fragment:
        raise ValueError("is not a plain URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and _loopback(parts.hostname)):
        raise ValueError("must begin with https://")
    return url


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
