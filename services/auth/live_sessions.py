"""Sessions that live: seen and ended by those they belong to, and by administrators."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from services.auth.clock import Clock
from services.auth.delegation import colleague, owner_asked_for, require_held
from services.auth.errors import SessionNotFound, SessionRequired
from services.auth.grants import rights
from services.auth.store.models import LoginSession
from services.auth.store.sessions import SessionRecords
from services.rpc.principal import Principal
from services.sql.database import Database

WRITE_SESSIONS = "auth.sessions.write"

log = structlog.get_logger("parley.auth")


class LiveSessions:
    """Lists and ends sessions."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work with these parts."""
        self._database = database
        self._clock = clock

    async def logout(self, caller: Principal) -> None:
        """End the caller's own session.

        Raises:
            SessionRequired: The caller came with an API key.
        """
        if not caller.session_id:
            raise SessionRequired
        async with self._database.writing() as session:
            await SessionRecords(session).end(caller.session_id, self._clock())
        log.info("logout", user_id=caller.user_id, session_id=caller.session_id)

    async def page(self, caller: Principal, user_id: str, after: str, size: int) -> Sequence[LoginSession]:
        """A user's sessions, newest first.

        Args:
            caller: Who asks.
            user_id: Whose; empty means the caller's.
            after: The id that the page before ended with.
            size: How many at most.

        Raises:
            PermissionMissing: The caller may not see those of others.
            UserNotFound: The tenant has no such user.
        """
        owner = owner_asked_for(caller, user_id)
        async with self._database.reading() as session:
            await colleague(session, caller, owner)
            return await SessionRecords(session).page(caller.tenant_id, owner, self._clock(), after, size)

    async def end(self, caller: Principal, session_id: str) -> None:
        """End a session.

        Raises:
            SessionNotFound: No such session lives, or the caller may not end it.
            GrantExceedsCaller: Its user may do what the caller may not.
        """
        now = self._clock()
        async with self._database.writing() as session:
            records = SessionRecords(session)
            login = await records.live(caller.tenant_id, session_id, now)
            if login is None or (login.user_id != caller.user_id and not caller.may(WRITE_SESSIONS)):
                raise SessionNotFound(session_id)
            if login.user_id != caller.user_id:
                require_held(caller, rights(login.user))
            await records.end(session_id, now)
        log.info("session ended", user_id=login.user_id, session_id=session_id)

    async def end_all(self, caller: Principal, user_id: str) -> int:
        """End all of a user's sessions; an empty id means the caller's.

        Returns:
            How many there were.

        Raises:
            PermissionMissing: The caller may not end those of others.
            UserNotFound: The tenant has no such user.
            GrantExceedsCaller: The user may do what the caller may not.
        """
        owner = user_id or caller.user_id
        async with self._database.writing() as session:
            if owner != caller.user_id:
                caller.require(WRITE_SESSIONS)
                require_held(caller, rights(await colleague(session, caller, owner)))
            ended = await SessionRecords(session).end_all(caller.tenant_id, owner, self._clock())
        log.info("sessions ended", user_id=owner, count=ended)
        return ended
