"""The one client of the store's ledger: each step one atomic script, and time the store's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from cachetools import LRUCache
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError

from services.ledger.limits import MOST_TOKENS, Payer, Terms
from services.ledger.metrics import CALL_SECONDS, FAILURES, UP
from services.ledger.traced_store import TracedStore
from services.ledger.wire import PREFIX, Standing, Wire, decode, standing

SCRIPTS = Path(__file__).with_name("scripts")
LEASES = f"{PREFIX}leases"
READY = f"{PREFIX}ready"
USAGE = f"{PREFIX}usage"

STORE_SECONDS = 2.0
CONNECTIONS = 16
# About 17 MB of the embedded store's 64. Auth takes them within a second, so only its long absence loses any.
MOST_RECORDS = 100_000
MOST_WIRES = 1000
SETTLED_FOR = timedelta(minutes=10)


class LedgerUnavailable(Exception):
    """The store does not answer, or is not ready: nothing is known of what was used."""


class LeaseGone(Exception):
    """The lease is settled, expired or unknown."""


class LimitReached(Exception):
    """A limit stands in the way; nothing was counted."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"{standing.subject} {standing.dimension}")
        self.standing = standing


@dataclass(frozen=True, slots=True)
class Grant:
    """What a lease may use in all.

    Attributes:
        prompt: Tokens of its prompts.
        completion: Tokens of its answers.
        standing: The limit nearest to its end; None where nothing limits it.
    """

    prompt: int
    completion: int
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """A lease that nobody renewed or settled.

    Attributes:
        lease_id: Its name.
        payer: Who asked.
        terms: What it was held to.
        grant: What it had reserved.
    """

    lease_id: str
    payer: Payer
    terms: Terms
    grant: Grant


def open_store(url: str) -> Redis:
    """A client of the store whose connections are bounded, in number and in time."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=STORE_SECONDS,
        socket_connect_timeout=STORE_SECONDS,
        socket_timeout=STORE_SECONDS,
    )
    return TracedStore.from_pool(pool)


class Ledger:
    """Reserves, extends and settles leases.

    Every method raises `LedgerUnavailable` when the store does not answer
    within `STORE_SECONDS`, and `ValueError` for numbers out of range.
    """

    def __init__(self, store: Redis) -> None:
        """Use this store; it must never evict."""
        self._store = store
        self._wires: LRUCache[int, Wire] = LRUCache(MOST_WIRES)
        self._scripts = {name: _Script(store, name) for name in ("reserve", "extend", "settle", "status")}
        self._restore = _Script(store, "restore")

    async def reserve(
        self, lease_id: str, payer: Payer, terms: Terms, *, prompt: int, wanted: int, seconds: float
    ) -> Grant:
        """Let a request in; asking again with the same id gives the same lease.

        Args:
            lease_id: Names the lease.
            payer: Who asks.
            terms: What the request is held to.
            prompt: Tokens of its prompt, granted whole.
            wanted: Tokens of answer; fewer may be granted, at least one if any is wanted.
            seconds: When it expires unless it is renewed.

        Raises:
            LimitReached: A limit stands in the way.
            LeaseGone: The lease was settled already.
        """
        _check(prompt, wanted)
        wire = self._wire(terms)
        keys = [_lease_key(lease_id), LEASES, READY, *wire.keys]
        kept = wire.with_payer(payer)
        arguments = [lease_id, _microseconds(seconds), prompt, wanted, *wire.price, kept, *wire.rules]
        answer = await self._run("reserve", keys, arguments)
        match answer[0]:
            case b"granted":
                return Grant(prompt, int(answer[1]), standing(terms, answer[2]))
            case b"refused":
                raise LimitReached(cast("Standing", standing(terms, answer[1])))
            case b"settled":
                raise LeaseGone(lease_id)
        raise LedgerUnavailable("the ledger waits for its budgets to be restored")

    async def extend(
        self, lease_id: str, terms: Terms, *, prompt: int, wanted: int, used: int, seconds: float
    ) -> Grant:
        """Renew a lease, and give it as much of what it wants in all as its budgets have.

        Args:
            lease_id: Names the lease.
            terms: What it is held to.
            prompt: Tokens of its prompts; more of them are granted whole, with
                a token of answer, or not at all.
            wanted: Tokens of its answers; fewer may be granted.
            used: Tokens of answer used so far; what was granted beyond them is
                given back when a further prompt is granted.
            seconds: When it expires unless it is renewed again.

        Raises:
            LeaseGone: It is settled, expired or unknown.
        """
        _check(prompt, wanted, used)
        wire = self._wire(terms)
        keys = [_lease_key(lease_id), LEASES, *wire.keys]
        arguments = [lease_id, _microseconds(seconds), prompt, wanted, *wire.price, used, *wire.rules]
        answer = await self._run("extend", keys, arguments)
        if answer[0] == b"gone":
            raise LeaseGone(lease_id)
        return Grant(int(answer[1]), int(answer[2]), standing(terms, answer[3]))

    async def settle(
        self, lease_id: str, terms: Terms, *, prompt: int, completion: int, record: bytes
    ) -> bool:
        """End a lease with what it used, and write the record of it; once, however often it is asked.

        Returns:
            False where it was settled before.
        """
        _check(prompt, completion)
        wire = self._wire(terms)
        keys = [_lease_key(lease_id), LEASES, USAGE, *wire.keys]
        remembered = int(SETTLED_FOR.total_seconds() * 1000)
        arguments = [lease_id, prompt, completion, *wire.price, record, MOST_RECORDS, remembered]
        return bool(await self._run("settle", keys, [*arguments, *wire.rules]))

    async def standings(self, terms: Terms) -> list[Standing]:
        """How every limit of these terms stands."""
        if not terms.accounts:
            return []
        wire = self._wire(terms)
        answer = await self._run("status", wire.keys, wire.rules)
        return [cast("Standing", standing(terms, found)) for found in answer]

    async def expired(self, most: int = 100) -> list[Expired]:
        """Leases that are over and unsettled, oldest first."""
        async with self._asking("expired"):
            seconds, micros = await self._store.time()
            now = str(seconds * 1_000_000 + micros)
            ids: list[bytes] = await awaited(self._store.zrangebyscore(LEASES, "-inf", now, 0, most))
            found = [await self._expired(lease_id.decode()) for lease_id in ids]
        return [lease for lease in found if lease is not None]

    async def _expired(self, lease_id: str) -> Expired | None:
        fields = await awaited(
            self._store.hmget(_lease_key(lease_id), ["prompt", "completion", "terms", "settled"])
        )
        prompt, completion, terms, settled = fields
        if settled is not None or terms is None:
            await self._store.zrem(LEASES, lease_id)
            return None
        return Expired(lease_id, *decode(terms), Grant(int(prompt), int(completion)))

    async def is_ready(self) -> bool:
        """Whether budgets may be counted on: the store was not lost since they were last restored."""
        async with self._asking("ready"):
            return bool(await self._store.exists(READY))

    async def restore(
        self, account: str, *, day_tokens: int, day_nanos: int, month_tokens: int, month_nanos: int
    ) -> bool:
        """Put back what an account used in the present day and month.

        Returns:
            False where the store is ready, or has the account already.
        """
        figures = [day_tokens, day_nanos, month_tokens, month_nanos]
        async with self._asking("restore"):
            return bool(await self._restore(keys=[READY, f"{PREFIX}account:{account}"], args=figures))

    async def mark_ready(self) -> None:
        """Say that every account was restored."""
        async with self._asking("ready"):
            await self._store.set(READY, "1")

    def _wire(self, terms: Terms) -> Wire:
        """The terms as they travel; made once for terms that many requests share."""
        known = self._wires.get(id(terms))
        if known is None or known.terms is not terms:
            known = self._wires[id(terms)] = Wire(terms)
        return known

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async with self._asking(script):
            return await self._scripts[script](keys=keys, args=arguments)

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[None]:
        """Time what is asked, and say in one way that there is no answer.

        Raises:
            LedgerUnavailable: There is none.
            ValueError: The script refuses its numbers.
        """
        began = time.perf_counter()
        # Told from the first step on: a first failure is seen only as a growth.
        failures = FAILURES.labels(what)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                yield
        except ResponseError as error:
            if str(error).startswith("LEDGER "):
                raise ValueError(str(error).removeprefix("LEDGER ")) from None
            failures.inc()
            raise LedgerUnavailable(str(error)) from error
        except (RedisError, OSError, TimeoutError) as error:
            failures.inc()
            UP.set(0)
            raise LedgerUnavailable(type(error).__name__) from error
        UP.set(1)
        CALL_SECONDS.labels(what).observe(time.perf_counter() - began)


class _Script:
    """A script with what all of them begin with."""

    def __init__(self, store: Redis, name: str) -> None:
        common, own = ((SCRIPTS / f"{part}.lua").read_text() for part in ("accounts", name))
        self._script = store.register_script(f"{common}\n{own}")

    async def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return await self._script(keys=keys, args=args)


async def awaited(answer: Any) -> Any:
    """The library types its answers for its two clients at once."""
    return await cast("Awaitable[Any]", answer)


def _check(*tokens: int) -> None:
    """Refuse what the scripts cannot count.

    Raises:
        ValueError: A number is negative or too large.
    """
    for number in tokens:
        if not 0 <= number <= MOST_TOKENS:
            raise ValueError(f"{number} tokens are out of range")


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _lease_key(lease_id: str) -> str:
    return f"{PREFIX}lease:{lease_id}"
