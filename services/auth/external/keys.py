"""The signing keys of an outside issuer, fetched over HTTP and kept for a while."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.auth.external.rules import IssuerRules, check_url
from services.rpc.errors import DependencyUnavailable

DISCOVERY = "/.well-known/openid-configuration"
FETCH_SECONDS = 5.0
CONNECT_SECONDS = 3.0
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 64
# A key that is not known makes the keys be fetched again, but not by every token that names one.
REFETCH_SECONDS = 10.0
REFRESH_SECONDS = 600.0
# An issuer that is away keeps nobody out so long; a key that it took back is not believed for longer.
STALE_SECONDS = 3600.0

log = structlog.get_logger("parley.auth")


class Unfetchable(Exception):
    """The issuer's document cannot be had, or is none; the message says why."""


class ExternalKeys:
    """Knows an issuer's keys."""

    def __init__(
        self,
        rules: IssuerRules,
        client: httpx.AsyncClient,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch the keys of this issuer; `monotonic` gives the seconds that their age is counted in."""
        self._rules = rules
        self._client = client
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str | None) -> KeySet:
        """The keys, fetched again if they lack this one or have grown old.

        Raises:
            DependencyUnavailable: They cannot be had.
        """
        async with self._fetching:
            now = self._monotonic()
            lacking = self._keys is None or not _has(self._keys, key_id)
            wanted = lacking or now - self._fetched >= REFRESH_SECONDS
            if wanted and now - self._tried >= REFETCH_SECONDS:
                await self._refetch(now)
            if self._keys is None or now - self._fetched >= STALE_SECONDS:
                raise DependencyUnavailable("issuer")
            return self._keys

    async def _refetch(self, now: float) -> None:
        self._tried = now
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = _key_set(await self._document(await self._url()))
        except (httpx.HTTPError, TimeoutError, Unfetchable) as error:
            log.warning("keys of the issuer not fetched", error=f"{type(error).__name__}: {error}")
            return
        self._fetched = now

    async def _url(self) -> str:
        """Where the keys are (OpenID Connect Discovery 1.0, section 4)."""
        if self._rules.jwks_url:
            return self._rules.jwks_url
        document = await self._document(self._rules.issuer.rstrip("/") + DISCOVERY)
        if document.get("issuer") != self._rules.issuer:
            raise Unfetchable("the discovery document is of another issuer")
        try:
            return check_url(str(document.get("jwks_uri")))
        except ValueError as error:
            raise Unfetchable(f"jwks_uri {error}") from None

    async def _document(self, url: str) -> dict[str, Any]:
        """A JSON object over HTTP. A redirect is an error: whom it leads to is not whom we trust."""
        async with self._client.stream("GET", url, headers={"accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise Unfetchable(f"status {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise Unfetchable(f"more than {MAX_DOCUMENT_BYTES} bytes")
        try:
            document = json.loads(body)
        except ValueError:
            raise Unfetchable("no JSON") from None
        if not isinstance(document, dict):
            raise Unfetchable("no JSON object")
        return document


def _key_set(document: dict[str, Any]) -> KeySet:
    """The keys for signatures that we can read (RFC 7517, section 5: others are passed over).

    Raises:
        Unfetchable: There is none.
    """
    listed = document.get("keys")
    entries = listed[:MAX_KEYS] if isinstance(listed, list) else []
    keys = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC"):
            continue
        if entry.get("use", "sig") != "sig":
            continue
        try:
            keys.extend(KeySet.import_key_set({"keys": [entry]}).keys)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not keys:
        raise Unfetchable("no key for signatures")
    return KeySet(keys)


def _has(keys: KeySet, key_id: str | None) -> bool:
    return key_id is None or any(key.kid == key_id for key in keys.keys)


@asynccontextmanager
async def http_client(rules: IssuerRules) -> AsyncIterator[httpx.AsyncClient]:
    """A client for fetching the issuer's documents.

    Raises:
        OSError: The authority's file cannot be read.
    """
    context = ssl.create_default_context(cafile=str(rules.authority) if rules.authority else None)
    timeout = httpx.Timeout(FETCH_SECONDS, connect=CONNECT_SECONDS)
    limits = httpx.Limits(max_connections=2)
    # The environment's proxies are not asked: they are not part of the settings.
    async with httpx.AsyncClient(
        verify=context, timeout=timeout, limits=limits, follow_redirects=False, trust_env=False
    ) as client:
        yield client
