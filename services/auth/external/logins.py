"""Begins sessions for the users of an outside issuer."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.clock import Clock
from services.auth.errors import ExternalUserRefused
from services.auth.external.issuer import ExternalIssuer, ExternalUser, TokenKind
from services.auth.grants import rights
from services.auth.names import unprintable
from services.auth.revocations import revoke
from services.auth.roles import first_beyond
from services.auth.sessions import Sessions, SessionTokens
from services.auth.store.external import ExternalRecords
from services.auth.store.external_models import ExternalIdentity
from services.auth.store.models import Tenant, User, UserRole
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.tenants import TenantRecords
from services.auth.store.users import UserRecords
from services.auth.tenant_roles import permissions_within
from services.auth.users import NewUser
from services.sql.database import Database

MAX_NAME_CHARACTERS = 96
SUFFIX_CHARACTERS = 8
# What a session's own tokens are younger by than the revocation of those before.
TICK = timedelta(milliseconds=1)

log = structlog.get_logger("parley.auth")


class ExternalLogins:
    """Exchanges an issuer's tokens for a session's (RFC 8693)."""

    def __init__(self, issuer: ExternalIssuer, database: Database, sessions: Sessions, clock: Clock) -> None:
        """Work with these parts."""
        self._issuer = issuer
        self._database = database
        self._sessions = sessions
        self._clock = clock

    async def exchange(self, token: str, kind: TokenKind, address: str) -> SessionTokens:
        """Begin a session for whom the token stands for.

        The user is made at first sight, and never found by name: who an issuer
        calls `admin` is not ours. The roles are what the token says now.

        Args:
            token: The issuer's token.
            kind: What it says it is.
            address: The client's IP address.

        Raises:
            ExternalTokenInvalid: It is not a good one.
            ExternalUserRefused: The user has no role here, or is disabled.
            RoleNotFound: The settings name a role that the tenant does not have.
            DependencyUnavailable: The issuer or the database does not answer.
        """
        person = await self._issuer.verify(token, kind)
        async with self._database.writing() as session:
            user = await self._known(session, person) or await self._introduce(session, person)
            await self._assign(session, user, person.roles)
        async with self._database.reading() as session:
            fresh = await UserRecords(session).by_id(user.tenant_id, user.user_id)
        if fresh is None or not fresh.active() or not fresh.roles:
            log.info("external login refused", user_id=user.user_id, address=address)
            raise ExternalUserRefused
        tokens = await self._sessions.begin(fresh, address, self._issuer.rules.session_life)
        log.info("external login", user_id=user.user_id, address=address)
        return tokens

    async def _known(self, session: AsyncSession, person: ExternalUser) -> User | None:
        """The user whom the issuer's subject is here, with the tenant locked."""
        identity = await ExternalRecords(session).find(person.issuer, person.subject)
        if identity is None:
            return None
        await TenantRecords(session).lock(identity.tenant_id)
        return await UserRecords(session).by_id(identity.tenant_id, identity.user_id)

    async def _introduce(self, session: AsyncSession, person: ExternalUser) -> User:
        """Make the user.

        Raises:
            ExternalUserRefused: There is nothing here for the user, or no such tenant.
        """
        tenant = await ExternalRecords(session).tenant(self._issuer.rules.tenant)
        if tenant is None or tenant.disable_time is not None or not person.roles:
            raise ExternalUserRefused
        await TenantRecords(session).lock(tenant.tenant_id)
        if known := await self._known(session, person):
            return known  # made while this waited
        user = await self._new_user(session, tenant, person, self._clock())
        identity = ExternalIdentity(
            issuer=person.issuer,
            subject=person.subject,
            tenant_id=tenant.tenant_id,
            user_id=user.user_id,
            create_time=user.create_time,
        )
        ExternalRecords(session).add(identity)
        log.info("external user made", user_id=user.user_id)
        return user

    async def _new_user(
        self, session: AsyncSession, tenant: Tenant, person: ExternalUser, now: datetime
    ) -> User:
        name = display_name(person.name)
        user = NewUser(name).record(tenant.tenant_id, None, now)
        records = UserRecords(session)
        if await records.name_taken(name):
            name = f"{name}-{user.user_id[-SUFFIX_CHARACTERS:].lower()}"
            user = NewUser(name).record(tenant.tenant_id, None, now)
        await records.add(user)
        return user

    async def _assign(self, session: AsyncSession, user: User, roles: frozenset[str]) -> None:
        """Give the user these roles and no others; tokens that say more end at once."""
        if roles == set(user.role_names()):
            return
        before, after = rights(user), await permissions_within(session, user.tenant_id, sorted(roles))
        user.roles = [role for role in user.roles if role.role in roles] + [
            UserRole(user_id=user.user_id, role=role, tenant_id=user.tenant_id)
            for role in sorted(roles.difference(user.role_names()))
        ]
        await UserRecords(session).change(user)
        if first_beyond(before, after) is not None:
            before_now = self._clock() - TICK
            await revoke(session, kind=RevocationKind.USER, subject_ids=[user.user_id], now=before_now)


def display_name(stated: str) -> str:
    """A name as it may be shown; what an issuer lets its users choose can be anything."""
    kept = "".join(
        character for character in unicodedata.normalize("NFKC", stated) if not unprintable(character)
    )
    return kept.strip()[:MAX_NAME_CHARACTERS] or "user"
