"""Passwords, hashed with argon2id (RFC 9106) away from the event loop."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.rpc.errors import Overloaded

T = TypeVar("T")

ONE_TIME_BYTES = 18
# Long enough to be handed over, short enough not to lie about.
ONE_TIME_LIFE = timedelta(days=3)


def one_time_password() -> str:
    """A random password, to be changed by whom it is given to."""
    return secrets.token_urlsafe(ONE_TIME_BYTES)


@dataclass(frozen=True)
class PasswordCost:
    """What one hash costs, and how many may be under way.

    The defaults are the second recommended option of RFC 9106, section 4, with
    two lanes in place of four: 60 to 250 ms on the machines that we know.

    Attributes:
        time_cost: Passes over the memory.
        memory_kib: Memory of one hash, in KiB.
        lanes: Threads of one hash.
        workers: Hashes computed at once.
        waiting: Hashes that may wait for a worker; more are refused.
    """

    time_cost: int = 3
    memory_kib: int = 65_536
    lanes: int = 2
    workers: int = 2
    waiting: int = 64


class Passwords:
    """Hashes and verifies passwords in threads of its own (argon2 lets the others run)."""

    def __init__(self, cost: PasswordCost) -> None:
        """Take this cost, and compute one hash to compare with where there is no user."""
        self._hasher = PasswordHasher(cost.time_cost, cost.memory_kib, cost.lanes)
        self._limit = cost.workers + cost.waiting
        self._under_way = 0
        self._threads = ThreadPoolExecutor(cost.workers, thread_name_prefix="argon2")
        self._dummy = self._hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str) -> str:
        """The password's hash, with salt and parameters, to be stored.

        Raises:
            Overloaded: Too many hashes wait already.
        """
        return await self._in_thread(lambda: self._hasher.hash(_prepared(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed.

        Without a stored hash the same work is done, so that the time taken does
        not tell that there is none.

        Raises:
            Overloaded: Too many hashes wait already.
        """
        matches = await self._in_thread(lambda: self._matches(stored or self._dummy, _prepared(password)))
        return matches and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _matches(self, stored: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._limit:
            raise Overloaded("Too many logins at once; try again.", retry_after=timedelta(seconds=1))
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # The thread goes on when the caller leaves, so the place is free only when it is done.
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def _leave(self, done: asyncio.Future[T]) -> None:
        self._under_way -= 1
        if not done.cancelled():
            done.exception()  # seen, even where the caller has left


def _prepared(password: str) -> bytes:
    """The password as RFC 8265 section 4.2 prepares it: composed, case kept."""
    return unicodedata.normalize("NFC", password).encode()
