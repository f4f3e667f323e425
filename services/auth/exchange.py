"""Exchanges API keys for access tokens, as fast as the edge asks."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from cachetools import LRUCache

from services.auth.addresses import Network, within
from services.auth.clock import Clock
from services.auth.errors import KeyAddressNotAllowed, KeyInvalid
from services.auth.grants import Grant, key_grant
from services.auth.keys import PresentedKey, parse
from services.auth.last_use import LastUse
from services.auth.store.keys import KeyRecords
from services.auth.store.models import ApiKey, User
from services.auth.store.users import UserRecords
from services.auth.tokens import AccessToken, AccessTokens
from services.sql.database import Database

# A revocation by any replica takes effect within one second; this leaves time for the answer.
TRUST_SECONDS = 0.8
CAPACITY = 10_000
# A token that is about to end could be over before the call it is for has begun.
REUSE_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Exchanged:
    """What a key was exchanged for.

    Attributes:
        checked: When the database was asked, on the monotonic clock, in seconds.
        grant: What it answered.
        token: The token made from that.
        networks: Where the key may be used from; empty means anywhere.
    """

    checked: float
    grant: Grant
    token: AccessToken
    networks: tuple[Network, ...]


class KeyExchange:
    """Gives a token for a key.

    The answer is trusted for `TRUST_SECONDS`; after that the database is asked
    again, once for all who wait, and the same token goes on if nothing changed.
    """

    def __init__(
        self,
        database: Database,
        tokens: AccessTokens,
        last_use: LastUse,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Work with these parts; `monotonic` gives the seconds that trust is counted in."""
        self._database = database
        self._tokens = tokens
        self._last_use = last_use
        self._clock = clock
        self._monotonic = monotonic
        self._known: LRUCache[bytes, Exchanged] = LRUCache(CAPACITY)
        self._asking: dict[bytes, asyncio.Task[Exchanged]] = {}

    async def exchange(self, text: str, address: str = "") -> AccessToken:
        """The token that stands for a key; see `look_up`."""
        return (await self.look_up(text, address)).token

    async def look_up(self, text: str, address: str = "") -> Exchanged:
        """What stands for a key.

        Args:
            text: The key as it was presented.
            address: The IP address that it was presented from.

        Raises:
            KeyInvalid: The key is unknown, revoked or over, or its owner disabled.
            KeyAddressNotAllowed: It may not be used from there.
            DependencyUnavailable: The database does not answer.
        """
        presented = parse(text)
        if presented is None:
            raise KeyInvalid
        digest = presented.digest()
        exchanged = self._known.get(digest)
        if exchanged is None or not self._trusted(exchanged):
            exchanged = await self._ask_once(digest, presented)
        if exchanged.networks and not within(address, exchanged.networks):
            raise KeyAddressNotAllowed(address)
        self._last_use.note(exchanged.grant.key_id)
        return exchanged

    def trusted_seconds(self, exchanged: Exchanged) -> float:
        """For how long an answer may be given again, here or at the edge, before the database is asked."""
        left = TRUST_SECONDS - (self._monotonic() - exchanged.checked)
        return max(0.0, min(left, (exchanged.token.expires_at - self._clock()).total_seconds()))

    def forget(self, digest: bytes) -> None:
        """Drop what is known of a key that was just revoked here."""
        self._known.pop(digest, None)
        self._asking.pop(digest, None)

    def _trusted(self, exchanged: Exchanged) -> bool:
        return self.trusted_seconds(exchanged) > 0

    async def _ask_once(self, digest: bytes, presented: PresentedKey) -> Exchanged:
        """Ask the database, or join the one who asks already."""
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._ask(digest, presented))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        # One caller's leaving must not fail the others.
        return await asyncio.shield(task)

    def _asked(self, digest: bytes, task: asyncio.Task[Exchanged]) -> None:
        """Keep a good answer, unless the key was revoked here meanwhile."""
        if self._asking.get(digest) is not task:
            return
        del self._asking[digest]
        if task.cancelled() or task.exception() is not None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = task.result()

    async def _ask(self, digest: bytes, presented: PresentedKey) -> Exchanged:
        token: AccessToken | None = None
        while token is None:  # until nobody changed the owner between the look and the token
            checked = self._monotonic()
            key = await self._live(digest, presented)
            grant = key_grant(key)
            token = self._still_good(digest, grant) or await self._mint(key.user, grant)
        networks = tuple(ipaddress.ip_network(network) for network in key.allowed_addresses)
        return Exchanged(checked, grant, token, networks)

    async def _live(self, digest: bytes, presented: PresentedKey) -> ApiKey:
        """The key as the database has it.

        Raises:
            KeyInvalid: It has none, or it may not be used.
        """
        async with self._database.reading() as session:
            key = await KeyRecords(session).presented(presented.prefix, digest)
        if key is None or not key.live(self._clock()) or not key.user.active():
            raise KeyInvalid
        return key

    def _still_good(self, digest: bytes, grant: Grant) -> AccessToken | None:
        """The token that was given before, if it says the same and lasts for another call."""
        known = self._known.get(digest)
        if known is None or known.grant != grant or known.token.expires_at - self._clock() <= REUSE_MARGIN:
            return None
        return known.token

    async def _mint(self, owner: User, grant: Grant) -> AccessToken | None:
        """A new token; None if the owner was changed since the grant was read (see `UserRecords.hold`)."""
        async with self._database.writing() as session:
            return self._tokens.issue(grant) if await UserRecords(session).hold(owner) else None
