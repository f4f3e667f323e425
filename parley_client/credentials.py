"""Who the caller is: nobody, an API key, or a login that renews itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from parley.auth.v1.session_service_pb2 import TokenPair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Metadata = tuple[tuple[str, str], ...]

REFRESH_AHEAD = timedelta(seconds=60)
"""How long before its end an access token is renewed: longer than a slow
connection takes to open, far shorter than the token's 15 minutes."""


class Credentials(Protocol):
    """What goes with every call."""

    async def metadata(self) -> Metadata:
        """The metadata that tells the edge who calls."""
        ...


@runtime_checkable
class Renewable(Credentials, Protocol):
    """Credentials whose token is made anew when it ends."""

    def doubt(self) -> None:
        """Take the token for ended, whatever this machine's clock says: the next call has another."""
        ...


class Anonymous:
    """Nobody: for logging in, health and the public keys."""

    async def metadata(self) -> Metadata:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class ApiKey:
    """An API key, which the edge exchanges for a token."""

    secret: str = field(repr=False)

    async def metadata(self) -> Metadata:
        """The key as a bearer value."""
        return _bearer(self.secret)


@dataclass(frozen=True)
class Tokens:
    """What a session is carried on with."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime
    must_change_password: bool = False
    """Whether they permit nothing but that, since the login was with a one-time password."""

    @classmethod
    def from_pair(cls, pair: TokenPair, now: datetime | None = None) -> Tokens:
        """The tokens of a login or a refresh that was answered at `now` (UTC)."""
        now = now or datetime.now(UTC)
        return cls(pair.access_token, pair.refresh_token, now + pair.expires_in.ToTimedelta())


class TokenStore(Protocol):
    """Where a session's tokens live. Two programs may share one."""

    def load(self) -> Tokens:
        """The tokens as they are now."""
        ...

    def save(self, tokens: Tokens) -> None:
        """Replaces them."""
        ...

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Holds off every other holder: a refresh token is good for one use only."""
        ...


class TokensInMemory:
    """Tokens that end with the program."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._lock = asyncio.Lock()

    def load(self) -> Tokens:
        """The tokens as they are now."""
        return self._tokens

    def save(self, tokens: Tokens) -> None:
        """Replaces them."""
        self._tokens = tokens

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Holds off the other tasks of this program."""
        async with self._lock:
            yield


Refresh = Callable[[str], Awaitable[Tokens]]
"""Exchanges a refresh token for new tokens."""


class Login:
    """A login whose access token is renewed ahead of its end."""

    def __init__(
        self, store: TokenStore, refresh: Refresh, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._now = now
        self._doubted = ""

    async def metadata(self) -> Metadata:
        """The access token as a bearer value, renewed first if it is about to end, or has."""
        tokens = self._store.load()
        if tokens.expires_at - self._now() <= REFRESH_AHEAD or tokens.access_token == self._doubted:
            await self.renew()
        return _bearer(self._store.load().access_token)

    def doubt(self) -> None:
        """See `Renewable.doubt`."""
        self._doubted = self._store.load().access_token

    async def renew(self) -> None:
        """Renews the tokens now, which also brings rights up to date. Who waits meanwhile renews no more."""
        seen = self._store.load()
        async with self._store.locked():
            tokens = self._store.load()
            if tokens == seen:
                self._store.save(await self._refresh(tokens.refresh_token))


def _bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True)
class AccessToken:
    """What an API key was exchanged for."""

    text: str = field(repr=False)
    expires_at: datetime


ExchangeKey = Callable[[str], Awaitable[AccessToken]]
"""Exchanges an API key for an access token."""


class ExchangedKey:
    """An API key that is exchanged once, so that calls need not wait for the edge to do it each time."""

    def __init__(
        self,
        secret: str,
        exchange: ExchangeKey,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._secret = secret
        self._exchange = exchange
        self._now = now
        self._lock = asyncio.Lock()
        self._token: AccessToken | None = None

    async def metadata(self) -> Metadata:
        """The access token as a bearer value, made first where there is none or it is about to end."""
        async with self._lock:
            if self._token is None or self._token.expires_at - self._now() <= REFRESH_AHEAD:
                self._token = await self._exchange(self._secret)
            return _bearer(self._token.text)

    def doubt(self) -> None:
        """See `Renewable.doubt`."""
        self._token = None
