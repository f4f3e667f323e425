"""Roles: named sets of permissions, and the arithmetic of such sets.

A permission is a dotted name; a trailing `*` covers all below (see
`services.rpc.principal.permits`). What no role grants is denied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.rpc.principal import permits

ADMIN = "admin"

BUILT_IN: Mapping[str, frozenset[str]] = {
    ADMIN: frozenset({"*"}),
    "operator": frozenset(
        {
            "auth.audit.read",
            "auth.keys",
            "auth.quotas.read",
            "auth.roles.read",
            "auth.signing_keys.write",
            "auth.tenants.read",
            "auth.usage.read",
            "auth.users.read",
            "inference.*",
            "models.*",
            "tools.*",
        }
    ),
    "user": frozenset(
        {
            "auth.keys",
            "inference.chat",
            "inference.conversations.*",
            "inference.embed",
            "inference.models",
            "models.*",
            "tools.execute",
            "tools.list",
            "tools.data.*",
            "tools.file.*",
            "tools.math.*",
            "tools.utility.*",
        }
    ),
    # Sees what a user may use, and lacks what using it takes.
    "viewer": frozenset(
        {
            "inference.models",
            "models.*",
            "tools.list",
            "tools.data.*",
            "tools.file.*",
            "tools.math.*",
            "tools.utility.*",
        }
    ),
}

DESCRIPTIONS: Mapping[str, str] = {
    ADMIN: "May do everything.",
    "operator": "Runs the platform: every tool and model; sees identities, but changes nobody else's.",
    "user": "Talks to every model and uses the tools that touch nothing but the user's workspace.",
    "viewer": "Sees what a user may use, and changes nothing.",
}


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    """What the roles grant together; an unknown role grants nothing."""
    return frozenset().union(*(BUILT_IN.get(role, frozenset()) for role in roles))


def first_beyond(scopes: Iterable[str], granted: Iterable[str]) -> str | None:
    """The first scope, in order of name, that is not wholly granted; None if all are."""
    grants = frozenset(granted)
    return next((scope for scope in sorted(scopes) if not permits(grants, scope)), None)


def intersection(scopes: Iterable[str], granted: Iterable[str]) -> frozenset[str]:
    """What both sets permit.

    Of two that overlap, one always covers the other, because a `*` stands only
    at the end; the narrower one is kept.
    """
    wanted, grants = frozenset(scopes), frozenset(granted)
    return frozenset(scope for scope in wanted if permits(grants, scope)) | frozenset(
        grant for grant in grants if permits(wanted, grant)
    )
