"""Users as administrators manage them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from services.auth.clock import Clock
from services.auth.delegation import colleague, require_held
from services.auth.errors import LastAdmin, NameTaken, UserNotPerson
from services.auth.grants import rights
from services.auth.names import canonical
from services.auth.passwords import ONE_TIME_LIFE, Passwords, one_time_password
from services.auth.repeats import Repeat
from services.auth.revocations import revoke
from services.auth.roles import ADMIN, first_beyond
from services.auth.store.models import User, UserKind, UserRole
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.sessions import SessionRecords
from services.auth.store.tenants import TenantRecords
from services.auth.store.users import UserFilter, UserRecords
from services.auth.tenant_roles import permissions_within
from services.auth.updates import require_current
from services.rpc.principal import Principal
from services.sql.database import Database

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class NewUser:
    """What a user shall be.

    Attributes:
        username: What the user logs in as.
        display_name: What people call the user.
        kind: A person or a service account.
        roles: Names of the user's roles.
    """

    username: str
    display_name: str = ""
    kind: UserKind = UserKind.PERSON
    roles: Sequence[str] = ()

    def record(self, tenant_id: str, password_hash: str | None, now: datetime) -> User:
        """The row of this user; a password is good for one login and a change."""
        user_id = str(ULID())
        return User(
            user_id=user_id,
            tenant_id=tenant_id,
            username=self.username,
            canonical_username=canonical(self.username),
            display_name=self.display_name,
            kind=self.kind,
            password_hash=password_hash,
            password_expire_time=now + ONE_TIME_LIFE if password_hash else None,
            create_time=now,
            roles=[UserRole(user_id=user_id, role=role, tenant_id=tenant_id) for role in self.roles],
        )


@dataclass(frozen=True)
class UserChanges:
    """What shall change; None leaves as it is.

    Attributes:
        display_name: What people call the user.
        roles: Names of the user's roles.
    """

    display_name: str | None = None
    roles: Sequence[str] | None = None


class Users:
    """Makes, shows and changes the users of the caller's tenant."""

    def __init__(self, database: Database, passwords: Passwords, clock: Clock) -> None:
        """Work with these parts."""
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def create(self, caller: Principal, new: NewUser, repeat: Repeat) -> tuple[User, str]:
        """Make a user, or give the one that this request made before.

        Returns:
            The user, and a person's one-time password if this call made one.

        Raises:
            RoleNotFound: The tenant has no such role.
            GrantExceedsCaller: The roles permit what the caller may not.
            NameTaken: Someone is called so.
            RequestIdReused: The request id was used for another request.
        """
        password = one_time_password() if new.kind is UserKind.PERSON else ""
        password_hash = await self._passwords.hash(password) if password else None
        try:
            async with self._database.writing() as session:
                await TenantRecords(session).lock(caller.tenant_id)
                if earlier := await repeat.earlier(session):
                    return await colleague(session, caller, earlier), ""
                require_held(caller, await permissions_within(session, caller.tenant_id, new.roles))
                if await UserRecords(session).name_taken(new.username):
                    raise NameTaken(new.username)
                user = new.record(caller.tenant_id, password_hash, self._clock())
                await UserRecords(session).add(user)
                repeat.note(session, user.user_id, user.create_time)
        except IntegrityError:
            raise NameTaken(new.username) from None  # a moment ago, in another tenant
        log.info("user created", user_id=user.user_id, by=caller.user_id)
        return user, password

    async def get(self, caller: Principal, user_id: str) -> User:
        """The user with this id.

        Raises:
            UserNotFound: The tenant has none.
        """
        async with self._database.reading() as session:
            return await colleague(session, caller, user_id)

    async def page(self, caller: Principal, wanted: UserFilter, after: str, size: int) -> Sequence[User]:
        """Users, newest first, beginning after the id `after` if it is given."""
        async with self._database.reading() as session:
            return await UserRecords(session).page(caller.tenant_id, wanted, after, size)

    async def update(self, caller: Principal, user_id: str, changes: UserChanges, etag: str) -> User:
        """Change a user.

        Raises:
            UserNotFound: The tenant has none with this id.
            EtagMismatch: The change is based on an earlier state.
            RoleNotFound: The tenant has no such role.
            GrantExceedsCaller: The user may, or would, do what the caller may not.
            LastAdmin: The tenant would be left without an administrator.
        """
        async with self._changing(caller, user_id) as (session, user):
            require_current(etag, user.version)
            await UserRecords(session).change(user)
            if changes.display_name is not None:
                user.display_name = changes.display_name
            if changes.roles is not None:
                await self._assign(session, caller, user, changes.roles)
        return user

    async def _assign(
        self, session: AsyncSession, caller: Principal, user: User, roles: Sequence[str]
    ) -> None:
        """Give a user these roles and no others."""
        before, after = rights(user), await permissions_within(session, caller.tenant_id, roles)
        require_held(caller, after)
        if ADMIN not in roles:
            await _require_other_admin(session, user)
        kept = [role for role in user.roles if role.role in roles]
        added = set(roles) - {role.role for role in kept}
        user.roles = [
            *kept,
            *(UserRole(user_id=user.user_id, role=role, tenant_id=user.tenant_id) for role in sorted(added)),
        ]
        if first_beyond(before, after) is not None:
            # Tokens that say otherwise end at once; the next ones have what is left.
            await revoke(session, kind=RevocationKind.USER, subject_ids=[user.user_id], now=self._clock())

    async def disable(self, caller: Principal, user_id: str) -> User:
        """Shut a user out, sessions included; the first time stands.

        Raises:
            UserNotFound: The tenant has none with this id.
            GrantExceedsCaller: The user may do what the caller may not.
            LastAdmin: The tenant would be left without an administrator.
        """
        async with self._changing(caller, user_id) as (session, user):
            if user.disable_time is not None:
                return user
            await _require_other_admin(session, user)
            await UserRecords(session).change(user)  # before the sessions are sought: none begins after it
            user.disable_time = self._clock()
            await SessionRecords(session).end_all(user.tenant_id, user.user_id, user.disable_time)
            await revoke(session, kind=RevocationKind.USER, subject_ids=[user.user_id], now=user.disable_time)
        return user

    async def enable(self, caller: Principal, user_id: str) -> User:
        """Let a user in again.

        Raises:
            UserNotFound: The tenant has none with this id.
            GrantExceedsCaller: The user may do what the caller may not.
        """
        async with self._changing(caller, user_id) as (_, user):
            if user.disable_time is not None:
                user.disable_time, user.version = None, user.version + 1
        return user

    async def reset_password(self, caller: Principal, user_id: str) -> str:
        """Give a person a one-time password, and end their sessions.

        Raises:
            UserNotFound: The tenant has none with this id.
            UserNotPerson: It is a service account.
            GrantExceedsCaller: The user may do what the caller may not.
        """
        password = one_time_password()
        password_hash = await self._passwords.hash(password)
        async with self._changing(caller, user_id) as (session, user):
            if user.kind != UserKind.PERSON:
                raise UserNotPerson(user_id)
            now = self._clock()
            user.password_hash, user.password_expire_time = password_hash, now + ONE_TIME_LIFE
            user.version += 1
            await session.flush()
            await SessionRecords(session).end_all(user.tenant_id, user.user_id, now)
        return password

    @asynccontextmanager
    async def _changing(self, caller: Principal, user_id: str) -> AsyncIterator[tuple[AsyncSession, User]]:
        """A transaction that changes a user whom the caller may change."""
        async with self._database.writing() as session:
            await TenantRecords(session).lock(caller.tenant_id)
            user = await colleague(session, caller, user_id)
            require_held(caller, rights(user))
            yield session, user
        log.info("user changed", user_id=user_id, by=caller.user_id, version=user.version)


async def _require_other_admin(session: AsyncSession, user: User) -> None:
    """Refuse to take away the only administrator who can log in."""
    counts = user.kind == UserKind.PERSON and user.disable_time is None and ADMIN in user.role_names()
    if counts and not await UserRecords(session).other_admins(user.tenant_id, user.user_id):
        raise LastAdmin(user.user_id)
