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
        versions: Of user and tenant: a token made before either changed is made anew, because it may be
            revoked.
    """

    user_id: str
    username: str
    tenant_id: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    session_id: str = ""
    key_id: str = ""
    not_after: datetime | None = None
    versions: tuple[int, int] = (0, 0)


def rights(user: User) -> frozenset[str]:
    """What the user's roles permit, the built-in ones and the tenant's own."""
    own = (role.custom.permissions for role in user.roles if role.custom is not None)
    return permissions_of(user.role_names()).union(*own)


def session_grant(user: User, session_id: str, not_after: datetime) -> Grant:
    """The grant of a login session: all that the user's roles permit.

    With a one-time password it is nothing: only methods that any token opens,
    such as the one that changes the password.
    """
    return Grant(
        user.user_id,
        user.username,
        user.tenant_id,
        user.role_names(),
        frozenset() if user.must_change_password() else rights(user),
        session_id=session_id,
        not_after=not_after,
    )


def key_grant(key: ApiKey) -> Grant:
    """The grant of an API key: what both its scopes and its owner's roles permit."""
    user = key.user
    granted = rights(user)
    return Grant(
        user.user_id,
        user.username,
        user.tenant_id,
        user.role_names(),
        intersection(key.scopes, granted) if key.scopes else granted,
        key_id=key.key_id,
        not_after=key.expire_time,
        versions=(user.version, user.tenant.version),
    )
