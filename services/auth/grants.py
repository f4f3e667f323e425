"""What an access token is made from: who, and what they may do now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.auth.roles import intersection, permissions_of
from services.auth.store.models import ApiKey, User


@dataclass(frozen=True)
class Grant:
    """A user's rights, as roles and key scopes make them.

    Attributes:
        user_id: The user's id.
        username: The user's name.
        tenant_id: The user's tenant.
        roles: The user's roles, sorted.
        permissions: What the token shall permit.
        session_id: The login session; empty for a key.
        key_id: The API key; empty for a login.
        not_after: No token of this grant may live longer; None sets no limit.
    """

    user_id: str
    username: str
    tenant_id: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    session_id: str = ""
    key_id: str = ""
    not_after: datetime | None = None


def session_grant(user: User, session_id: str, not_after: datetime) -> Grant:
    """The grant of a login session: all that the user's roles permit."""
    roles = user.role_names()
    return Grant(
        user.user_id,
        user.username,
        user.tenant_id,
        roles,
        permissions_of(roles),
        session_id=session_id,
        not_after=not_after,
    )


def key_grant(key: ApiKey) -> Grant:
    """The grant of an API key: what both its scopes and its owner's roles permit."""
    user, roles = key.user, key.user.role_names()
    granted = permissions_of(roles)
    return Grant(
        user.user_id,
        user.username,
        user.tenant_id,
        roles,
        intersection(key.scopes, granted) if key.scopes else granted,
        key_id=key.key_id,
        not_after=key.expire_time,
    )
