"""Changing one's own password."""

from __future__ import annotations

import structlog

from services.auth.clock import Clock
from services.auth.errors import PasswordWrong, SessionRequired, UserNotFound
from services.auth.names import canonical
from services.auth.passwords import Passwords
from services.auth.store.models import User
from services.auth.store.sessions import SessionRecords
from services.auth.store.users import UserRecords
from services.auth.throttle import LoginThrottle
from services.rpc.errors import FieldViolation, InvalidRequest
from services.rpc.principal import Principal
from services.sql.database import Database

log = structlog.get_logger("parley.auth")


class PasswordChange:
    """Replaces a caller's password by one that they chose."""

    def __init__(
        self, database: Database, passwords: Passwords, throttle: LoginThrottle, clock: Clock
    ) -> None:
        """Work with these parts."""
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._clock = clock

    async def change(self, caller: Principal, current: str, new: str, address: str) -> None:
        """Replace the password, and end the caller's other sessions.

        The present password is asked for, and guesses are slowed down like
        logins: a stolen token must not become a stolen account.

        Raises:
            SessionRequired: The caller came with an API key.
            LoginThrottled: Too many guesses failed before.
            PasswordWrong: The present password is another one.
            InvalidRequest: The new one will not do.
            Overloaded: Too many passwords are being looked at.
        """
        if not caller.session_id:
            raise SessionRequired
        async with self._database.reading() as session:
            user = await UserRecords(session).by_id(caller.tenant_id, caller.user_id)
        if user is None:
            raise UserNotFound(caller.user_id)
        await self._throttle.charge(user.username, address)
        if not await self._passwords.verify(user.password_hash, current):
            log.info("password change refused", user_id=user.user_id, address=address)
            raise PasswordWrong
        await self._throttle.refund(user.username, address)
        _require_suitable(user, current, new)
        await self._store(caller, user, await self._passwords.hash(new))
        log.info("password changed", user_id=user.user_id, address=address)

    async def _store(self, caller: Principal, user: User, password_hash: str) -> None:
        async with self._database.writing() as session:
            if not await UserRecords(session).choose_password(user, password_hash):
                raise PasswordWrong  # it was reset a moment ago
            sessions = SessionRecords(session)
            await sessions.end_all(user.tenant_id, user.user_id, self._clock(), but=caller.session_id)


def _require_suitable(user: User, current: str, new: str) -> None:
    """Refuse what is as good as no change or no secret.

    Raises:
        InvalidRequest: The new password is the present one or the user's name.
    """
    if new == current or canonical(new) == user.canonical_username:
        violation = FieldViolation("new_password", "must be neither the present password nor the user's name")
        raise InvalidRequest(f"{violation.field}: {violation.description}", violations=[violation])
