"""Lets requests in under their limits, keeps their leases alive, and settles them however they end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from parley.auth.v1 import usage_pb2
from services.ledger.lease import Lease, LeaseLife
from services.ledger.ledger import Grant, LeaseGone, Ledger, LedgerUnavailable, LimitReached
from services.ledger.limits import Payer, Terms
from services.ledger.local_rates import LocalRates
from services.ledger.metrics import LOCAL, LOST, REFUSED
from services.ledger.remote_limits import LimitSource
from services.rpc.call import current_tenant_class
from services.rpc.quota_errors import BudgetExhausted, QuotaExceeded, QuotaUnavailable, RateLimited, Refused
from services.rpc.tasks import end_task

SETTLE_SECONDS = 2.5
MOST_UNSETTLED = 10_000

Report = Callable[[bool], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a request used up."""

    requests: int = 1
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    tool_calls: int = 0


@dataclass(frozen=True, slots=True)
class _Settlement:
    """The end of a lease, still to be written."""

    lease_id: str
    terms: Terms
    prompt: int = 0
    completion: int = 0
    record: bytes = b""


class Admission:
    """The door of a process that spends; its leases live while `keeping` is open."""

    def __init__(
        self, ledger: Ledger, limits: LimitSource, *, service: str, life: LeaseLife | None = None
    ) -> None:
        """Let requests in.

        Args:
            ledger: Where they are counted.
            limits: What they are held to.
            service: Who counts, for refusals, for example `inference.parley`.
            life: How leases are held.
        """
        self._ledger = ledger
        self._limits = limits
        self._service = service
        self._life = life or LeaseLife()
        self._local = LocalRates()
        self._leases: set[Lease] = set()
        self._unsettled: deque[_Settlement] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("parley.ledger")

    async def admit(
        self, lease_id: str, payer: Payer, *, prompt: int = 0, answers: bool = True, nested: bool = False
    ) -> Lease:
        """Let a request in.

        Args:
            lease_id: Names the lease and the record of what it used: a ULID.
            payer: Who asks.
            prompt: Tokens of its prompt.
            answers: Whether tokens will be generated.
            nested: Whether a run that has its place asks, by a tool; see `Terms.nested`.

        Raises:
            RateLimited: There are too many requests, tokens or streams for now.
            BudgetExhausted: A budget has too little left.
            QuotaUnavailable: A budget cannot be looked at.
        """
        terms = await self._limits.terms(payer)
        if nested:
            terms = replace(terms, nested=True)
        grant = await self._reserve(lease_id, payer, terms, prompt, answers=answers)
        lease = Lease(lease_id, payer, terms, grant, self._ledger, self._life)
        if lease.is_held:
            self._leases.add(lease)
        return lease

    async def _reserve(
        self, lease_id: str, payer: Payer, terms: Terms, prompt: int, *, answers: bool
    ) -> Grant | None:
        """What the ledger grants; None where there is nothing to ask it, or it is away."""
        if not terms.accounts:
            return None
        wanted = self._life.slice_tokens if answers else 0
        try:
            return await self._ledger.reserve(
                lease_id, payer, terms, prompt=prompt, wanted=wanted, seconds=self._life.seconds
            )
        except LimitReached as reached:
            raise self._refusal(reached) from None
        except asyncio.CancelledError:
            self._release(lease_id, terms)
            raise
        except LedgerUnavailable as error:
            self._log.warning("the ledger does not answer", error=str(error))
            self._release(lease_id, terms)
        except LeaseGone:
            raise QuotaUnavailable from None
        if terms.has_budget:
            raise QuotaUnavailable
        self._admit_locally(terms, prompt + wanted)
        return None

    def _admit_locally(self, terms: Terms, tokens: int) -> None:
        try:
            self._local.admit(terms, tokens)
        except LimitReached as reached:
            raise self._refusal(reached) from None
        LOCAL.inc()

    def _refusal(self, reached: LimitReached) -> QuotaExceeded:
        standing = reached.standing
        REFUSED.labels(standing.dimension, current_tenant_class()).inc()
        kind = BudgetExhausted if standing.dimension.is_budget else RateLimited
        left = max(0, standing.left)
        return kind(
            Refused(standing.subject, standing.dimension, standing.limit, left, standing.reset, self._service)
        )

    def _release(self, lease_id: str, terms: Terms) -> None:
        """Have a lease forgotten that may or may not have been made."""
        self._spawn(self._write(_Settlement(lease_id, terms)))

    async def settle(self, lease: Lease, spent: Spent) -> None:
        """End a lease. Returns when that is written, or after `SETTLE_SECONDS`; it is seen to even then."""
        self._leases.discard(lease)
        record = usage_record(lease, spent).SerializeToString()
        task = self._spawn(self._settle(lease, spent, record))
        await asyncio.wait({task}, timeout=SETTLE_SECONDS)

    async def _settle(self, lease: Lease, spent: Spent, record: bytes) -> None:
        try:
            await lease.settle(spent.prompt_tokens, spent.completion_tokens, record)
        except LedgerUnavailable:
            terms, prompt, completion = lease.terms, spent.prompt_tokens, spent.completion_tokens
            self._put_off(_Settlement(lease.lease_id, terms, prompt, completion, record))

    async def _write(self, settlement: _Settlement) -> bool:
        """Write a settlement; False where it was put off."""
        try:
            await self._ledger.settle(
                settlement.lease_id,
                settlement.terms,
                prompt=settlement.prompt,
                completion=settlement.completion,
                record=settlement.record,
            )
        except LedgerUnavailable:
            self._put_off(settlement)
            return False
        return True

    def _put_off(self, settlement: _Settlement) -> None:
        """Try again when the store answers; the oldest goes when there are too many."""
        if len(self._unsettled) >= MOST_UNSETTLED:
            self._unsettled.popleft()
            LOST.inc()
        self._unsettled.append(settlement)

    @asynccontextmanager
    async def keeping(self, report: Report | None = None) -> AsyncIterator[None]:
        """Keep leases alive until the block's end, and then see settlements through.

        Args:
            report: Told now and then whether the store answers.
        """
        task = asyncio.create_task(self._keep(report))
        try:
            yield
        finally:
            await end_task(task)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)
            await self._catch_up()
            if self._unsettled:
                LOST.inc(len(self._unsettled))
                self._log.error("usage was not recorded", records=len(self._unsettled))

    async def _keep(self, report: Report | None) -> None:
        while True:
            answers = await self._renew()
            if answers:
                await self._catch_up()
            if report is not None:
                await report(answers)
            await asyncio.sleep(self._life.seconds / 3)

    async def _renew(self) -> bool:
        """Renew all leases; False where the store does not answer."""
        try:
            await self._ledger.is_ready()
            for lease in tuple(self._leases):
                await lease.renew()
        except LedgerUnavailable:
            return False
        return True

    async def _catch_up(self) -> None:
        """Write what was put off, until there is none or the store is away again."""
        for _ in range(len(self._unsettled)):
            if not await self._write(self._unsettled.popleft()):
                return

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Do something that whoever asked for it need not live to see."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def usage_record(lease: Lease, spent: Spent) -> usage_pb2.UsageRecord:
    """The record of what a lease used."""
    return record_for(lease.lease_id, lease.payer, lease.terms, spent)


def record_for(lease_id: str, payer: Payer, terms: Terms, spent: Spent) -> usage_pb2.UsageRecord:
    """The record of what this payer used; it ends now."""
    record = usage_pb2.UsageRecord(
        record_id=lease_id,
        tenant_id=payer.tenant_id,
        user_id=payer.user_id,
        key_id=payer.key_id,
        model=payer.model,
        requests=spent.requests,
        prompt_tokens=spent.prompt_tokens,
        cached_prompt_tokens=spent.cached_prompt_tokens,
        completion_tokens=spent.completion_tokens,
        tool_calls=spent.tool_calls,
        cost_micros=terms.price.micros(spent.prompt_tokens, spent.completion_tokens),
    )
    record.end_time.GetCurrentTime()
    return record
