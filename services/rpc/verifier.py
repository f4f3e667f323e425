"""Verifies access tokens (RFC 7519, RFC 9068) without asking anyone."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.json_format import MessageToDict
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact
from joserfc.jwt import JWTClaimsRegistry

from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.rpc.errors import DependencyUnavailable, TokenExpired, TokenInvalid
from services.rpc.principal import ALGORITHM, TOKEN_TYPE, Principal, service_audience

MAX_TOKEN_CHARACTERS = 8192
CACHED_TOKENS = 4096
REFETCH_SECONDS = 5.0
FETCH_TIMEOUT_SECONDS = 2.0
REFRESH_SECONDS = 300.0

FetchKeys = Callable[[], Awaitable[KeySet]]


class Verifier(Protocol):
    """Turns a token into the caller it stands for."""

    async def verify(self, token: str) -> Principal:
        """Check the token.

        Raises:
            TokenExpired: Its time is over.
            TokenInvalid: It is not one of ours, or not for us.
            DependencyUnavailable: The signing keys cannot be had.
        """
        ...


class _Claims(JWTClaimsRegistry):
    """What is checked of a token beside its signature."""

    def validate_iat(self, value: object) -> None:
        """Takes any time of issue: auth's clock may be ahead of ours. A token ends by `exp` alone."""


class JwksVerifier:
    """Verifies tokens with keys that are fetched once and kept.

    A key id that is not known yet makes it fetch again, at most every
    `REFETCH_SECONDS`; when fetching fails it goes on with the keys it has.
    """

    def __init__(self, fetch: FetchKeys, *, issuer: str, audience: str, services: Sequence[str] = ()) -> None:
        """Take tokens that are signed with the keys that `fetch` gives.

        Args:
            fetch: Gives the keys.
            issuer: The only issuer whose tokens are taken.
            audience: Whom they must be for.
            services: Tokens for one of these services alone are taken too.
        """
        audiences = [audience, *(service_audience(audience, service) for service in services)]
        self._fetch = fetch
        self._registry = _Claims(
            leeway=0,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "values": audiences},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._keys: KeySet | None = None
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """See `Verifier.verify`."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenInvalid
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None:
            return self._unless_expired(digest, known)
        principal = self._decode(token, await self._keys_for(token))
        self._verified[digest] = principal
        while len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)
        return principal

    def _unless_expired(self, digest: bytes, principal: Principal) -> Principal:
        if principal.expires_at.timestamp() <= time.time():
            self._verified.pop(digest, None)
            raise TokenExpired
        self._verified.move_to_end(digest)
        return principal

    def _decode(self, token: str, keys: KeySet) -> Principal:
        try:
            decoded = jwt.decode(token, keys, algorithms=[ALGORITHM])
            if decoded.header.get("typ") != TOKEN_TYPE:
                raise TokenInvalid
            self._registry.validate(decoded.claims)
            return Principal.from_claims(decoded.claims, token)
        except ExpiredTokenError:
            raise TokenExpired from None
        except (JoseError, ValueError, KeyError, TypeError):
            raise TokenInvalid from None

    async def _keys_for(self, token: str) -> KeySet:
        """The keys, fetched again if they lack the token's or have grown old."""
        async with self._fetching:
            age = time.monotonic() - self._fetched
            stale = self._keys is None or not _has_key(self._keys, token)
            if (stale and age >= REFETCH_SECONDS) or age >= REFRESH_SECONDS:
                await self._refetch()
            if self._keys is None:
                raise DependencyUnavailable("auth")
            return self._keys

    async def _refetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                self._keys = await self._fetch()
        except (TimeoutError, grpc.RpcError):
            if self._keys is None:
                return  # Try again with the next call: there is nothing to go on with.
        self._fetched = time.monotonic()


def remote_keys(channel: grpc.aio.Channel) -> FetchKeys:
    """Fetches the signing keys from the auth service."""
    stub = SessionServiceStub(channel)

    async def fetch() -> KeySet:
        answer = await stub.GetJwks(session_service_pb2.GetJwksRequest(), timeout=FETCH_TIMEOUT_SECONDS)
        return KeySet.import_key_set(MessageToDict(answer))  # type: ignore[arg-type]

    return fetch


def _has_key(keys: KeySet, token: str) -> bool:
    """Whether the token names a key of the set. A token that cannot be read names none worth fetching."""
    try:
        header: dict[str, Any] = _header(token)
    except (JoseError, ValueError):
        return True
    return any(key.kid == header.get("kid") for key in keys.keys)


def _header(token: str) -> dict[str, Any]:
    """The token's header, unverified."""
    return dict(extract_compact(token.encode()).headers())
