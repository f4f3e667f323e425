"""Slows down the guessing of passwords, per user name and per address.

An attempt is charged before the password is looked at and refunded if it was
right, so that attempts made at once cannot all slip through. Names that do not
exist are counted like those that do.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth.clock import Clock
from services.auth.errors import LoginThrottled
from services.auth.names import canonical
from services.auth.store.attempts import AttemptRecords
from services.auth.store.models import LoginAttempt
from services.sql.database import Database

FORGET_AFTER = timedelta(minutes=30)
IPV6_SITE_BITS = 64


@dataclass(frozen=True)
class Backoff:
    """How long to wait after failures: 1 s, doubled with each further one.

    Attributes:
        free: Failures without a wait.
        longest: The wait does not grow beyond this.
    """

    free: int
    longest: timedelta

    def wait(self, failures: int) -> timedelta:
        """The wait after this many failures in a row."""
        if failures <= self.free:
            return timedelta(0)
        # The exponent is bounded before it is used: failures are not.
        return min(timedelta(seconds=2 ** min(failures - self.free - 1, 20)), self.longest)


# A name's wait stays short: whoever knows a name can cause it.
PER_NAME = Backoff(free=5, longest=timedelta(minutes=1))
# Many people may share one address.
PER_ADDRESS = Backoff(free=20, longest=timedelta(minutes=15))


class LoginThrottle:
    """Counts failed logins over all replicas."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        per_name: Backoff = PER_NAME,
        per_address: Backoff = PER_ADDRESS,
    ) -> None:
        """Keep the counters in this database."""
        self._database = database
        self._clock = clock
        self._per_name = per_name
        self._per_address = per_address

    async def charge(self, username: str, address: str) -> None:
        """Count an attempt that is about to be made.

        Args:
            username: As it was typed.
            address: The client's IP address.

        Raises:
            LoginThrottled: The name or the address must wait; nothing is counted.
        """
        now = self._clock()
        limits = self._limits(username, address)
        async with self._database.writing() as session:
            attempts = await AttemptRecords(session).locked(list(limits), now)
            wait = max((_remaining(attempt, now) for attempt in attempts), default=timedelta(0))
            if wait > timedelta(0):
                raise LoginThrottled(wait)
            for attempt in attempts:
                _count(attempt, limits[attempt.subject], now)

    async def refund(self, username: str, address: str) -> None:
        """Take back the charge of an attempt that was right.

        The name is cleared; the address keeps what others failed from it, or
        one good account would buy guesses at all the rest.
        """
        now = self._clock()
        limits = self._limits(username, address)
        name = _subject("name", canonical(username))
        async with self._database.writing() as session:
            for attempt in await AttemptRecords(session).locked(list(limits), now):
                attempt.failures = 0 if attempt.subject == name else max(0, attempt.failures - 1)
                _block(attempt, limits[attempt.subject], now)

    def _limits(self, username: str, address: str) -> dict[bytes, Backoff]:
        return {
            _subject("name", canonical(username)): self._per_name,
            _subject("address", _site(address)): self._per_address,
        }


def _remaining(attempt: LoginAttempt, now: datetime) -> timedelta:
    return (attempt.blocked_until or now) - now


def _count(attempt: LoginAttempt, backoff: Backoff, now: datetime) -> None:
    forgotten = now - attempt.last_time >= FORGET_AFTER
    attempt.failures = 1 if forgotten else attempt.failures + 1
    attempt.last_time = now
    _block(attempt, backoff, now)


def _block(attempt: LoginAttempt, backoff: Backoff, now: datetime) -> None:
    """Set the wait's end, if there is a wait: `now` itself would block a clock that is a moment behind."""
    wait = backoff.wait(attempt.failures)
    attempt.blocked_until = now + wait if wait else None


def _subject(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}:{text}".encode()).digest()


def _site(address: str) -> str:
    """What one customer of a network usually has: an IPv4 address, or an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.ip_network((parsed.packed, IPV6_SITE_BITS), strict=False))
    return str(parsed)
