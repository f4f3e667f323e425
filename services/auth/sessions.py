"""Login sessions: from a password to tokens, and from a refresh token to new ones."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from ulid import ULID

from services.auth.clock import Clock
from services.auth.errors import CredentialsInvalid, RefreshTokenInvalid
from services.auth.grants import session_grant
from services.auth.passwords import Passwords
from services.auth.store.models import ADDRESS_LENGTH, LoginSession, RefreshToken, User
from services.auth.store.sessions import SessionRecords
from services.auth.store.users import UserRecords
from services.auth.throttle import LoginThrottle
from services.auth.tokens import AccessToken, AccessTokens
from services.sql.database import Database

# 256 random bits: a digest of it needs no salt and no slow hash.
REFRESH_TOKEN_BYTES = 32

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class SessionLife:
    """How long sessions last.

    Attributes:
        refresh: A refresh token that is not used for so long is over.
        session: However often it is refreshed, a session ends after this.
    """

    refresh: timedelta = timedelta(days=7)
    session: timedelta = timedelta(days=30)


@dataclass(frozen=True)
class SessionTokens:
    """What a session is carried on with.

    Attributes:
        access: The access token.
        refresh: The refresh token.
        refresh_expires_at: When that is over.
        must_change_password: Whether they were got with a one-time password.
    """

    access: AccessToken
    refresh: str = field(repr=False)
    refresh_expires_at: datetime
    must_change_password: bool = False


class Sessions:
    """Begins and continues login sessions."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        throttle: LoginThrottle,
        tokens: AccessTokens,
        clock: Clock,
        life: SessionLife,
    ) -> None:
        """Work with these parts."""
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._tokens = tokens
        self._clock = clock
        self._life = life

    async def login(self, username: str, password: str, address: str) -> SessionTokens:
        """Begin a session.

        Args:
            username: As it was typed.
            password: As it was typed.
            address: The client's IP address.

        Raises:
            LoginThrottled: Too many attempts failed before.
            CredentialsInvalid: They name nobody who may log in.
            Overloaded: Too many logins are under way.
        """
        await self._throttle.charge(username, address)
        async with self._database.reading() as session:
            user = await UserRecords(session).by_name(username)
        right = await self._passwords.verify(user.password_hash if user else None, password)
        if user is None or not right or not user.may_log_in(self._clock()):
            # Not the name: people type their password into that field.
            log.info("login refused", user_id=user.user_id if user else "", address=address)
            raise CredentialsInvalid
        await self._throttle.refund(username, address)
        tokens = await self.begin(user, address)
        await self._renew_hash(user, password)
        log.info("login", user_id=user.user_id, address=address)
        return tokens

    async def begin(self, user: User, address: str, longest: timedelta | None = None) -> SessionTokens:
        """Begin a session for a user who was recognised.

        Args:
            user: The user, as read with the rights.
            address: The client's IP address.
            longest: The session ends after this, if that is before the usual time.

        Raises:
            CredentialsInvalid: The user was changed since they were read.
        """
        now = self._clock()
        life = min(self._life.session, longest or self._life.session)
        login = LoginSession(
            session_id=str(ULID()),
            tenant_id=user.tenant_id,
            user_id=user.user_id,
            create_time=now,
            expire_time=now + life,
            address=address[:ADDRESS_LENGTH],
        )
        text, record = self._refresh_token(login, now)
        async with self._database.writing() as session:
            if not await UserRecords(session).hold(user):
                raise CredentialsInvalid  # changed since the password was looked at
            await SessionRecords(session).add(login, record)
            return self._answer(user, login, text, record)

    async def _renew_hash(self, user: User, password: str) -> None:
        """Hash the password anew if the cost settings have changed since."""
        if user.password_hash is not None and self._passwords.outdated(user.password_hash):
            renewed = await self._passwords.hash(password)
            async with self._database.writing() as session:
                await UserRecords(session).replace_hash(user, renewed)

    async def refresh(self, text: str) -> SessionTokens:
        """Continue a session with a refresh token, which is used up by that.

        Raises:
            RefreshTokenInvalid: It is unknown, over, or was used before; in the
                last case the session is ended, because one of its two users
                stole it (RFC 9700, section 4.14.2).
        """
        now = self._clock()
        digest = _digest(text)
        async with self._database.reading() as session:
            if not _live(await SessionRecords(session).token(digest), now):
                raise RefreshTokenInvalid
        async with self._database.writing() as session:
            records = SessionRecords(session)
            # The user's rights stay as they are read until the token is given; see `UserRecords.hold`.
            await records.hold_user(digest)
            used = await records.token(digest)
            if used is None or not _live(used, now):
                raise RefreshTokenInvalid
            login = used.session
            text, record = self._refresh_token(login, now)
            if await records.use(digest, now):
                records.add_token(record)
                login.last_use_time = now
                return self._answer(login.user, login, text, record)
            await records.end(login.session_id, now)
        log.warning("refresh token reused", user_id=login.user_id, session_id=login.session_id)
        raise RefreshTokenInvalid

    def _refresh_token(self, login: LoginSession, now: datetime) -> tuple[str, RefreshToken]:
        text = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
        record = RefreshToken(
            digest=_digest(text),
            tenant_id=login.tenant_id,
            session_id=login.session_id,
            create_time=now,
            expire_time=min(now + self._life.refresh, login.expire_time),
        )
        return text, record

    def _answer(self, user: User, login: LoginSession, text: str, record: RefreshToken) -> SessionTokens:
        """The tokens, signed while the user is held."""
        access = self._tokens.issue(session_grant(user, login.session_id, login.expire_time))
        return SessionTokens(access, text, record.expire_time, user.must_change_password())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _live(token: RefreshToken | None, now: datetime) -> bool:
    """Whether there is a token, and it, its session and user may go on; a used token is judged later."""
    if token is None:
        return False
    login = token.session
    return now < min(token.expire_time, login.expire_time) and login.end_time is None and login.user.active()
