"""Looks after the ledger: restores what a lost store had counted, and ends leases that nobody renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.auth.clock import Clock
from services.ledger.admission import Spent, record_for
from services.ledger.ledger import Expired, Ledger, LedgerUnavailable
from services.rpc.errors import ServiceError

UPKEEP_SECONDS = 1.0

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class AccountUse:
    """What one account used since a time.

    Attributes:
        account: As `services.ledger.quotas.account_name` names it.
        tokens: Tokens of prompts and answers.
        nanos: What they cost, in billionths of the deployment's currency.
    """

    account: str
    tokens: int
    nanos: int


class UsageHistory(Protocol):
    """The record of what was used, which outlives the store."""

    async def since(self, time: datetime) -> Sequence[AccountUse]:
        """What every key, user, model and tenant used from then on."""
        ...


class QuotaUpkeep:
    """Runs beside the calls until it is cancelled; replicas may all run it."""

    def __init__(self, ledger: Ledger, history: UsageHistory, clock: Clock) -> None:
        """Look after this ledger, with this history to restore it from."""
        self._ledger = ledger
        self._history = history
        self._clock = clock

    async def run(self) -> None:
        """Do it for ever; what fails is tried again."""
        while True:
            try:
                await self.tend()
            except (LedgerUnavailable, ServiceError, SQLAlchemyError) as error:
                log.warning("the ledger cannot be looked after", error=type(error).__name__)
            await asyncio.sleep(UPKEEP_SECONDS)

    async def tend(self) -> None:
        """Restore the ledger where it was lost, and end what expired.

        Raises:
            LedgerUnavailable: The store does not answer.
            ServiceError: The history does not.
        """
        if not await self._ledger.is_ready():
            await self._restore()
        for lease in await self._ledger.expired():
            await self._end(lease)

    async def _restore(self) -> None:
        """Count what was used today and this month again; budgets wait for it."""
        today = self._clock().replace(hour=0, minute=0, second=0, microsecond=0)
        day = {use.account: use for use in await self._history.since(today)}
        month = {use.account: use for use in await self._history.since(today.replace(day=1))}
        for account, use in month.items():
            present = day.get(account, AccountUse(account, 0, 0))
            await self._ledger.restore(
                account,
                day_tokens=present.tokens,
                day_nanos=present.nanos,
                month_tokens=use.tokens,
                month_nanos=use.nanos,
            )
        await self._ledger.mark_ready()
        log.warning("the ledger was restored", accounts=len(month))

    async def _end(self, lease: Expired) -> None:
        """Charge what it had reserved: what it used of it, nobody is left to say."""
        spent = Spent(prompt_tokens=lease.grant.prompt, completion_tokens=lease.grant.completion)
        record = record_for(lease.lease_id, lease.payer, lease.terms, spent)
        await self._ledger.settle(
            lease.lease_id,
            lease.terms,
            prompt=spent.prompt_tokens,
            completion=spent.completion_tokens,
            record=record.SerializeToString(),
        )
        log.warning("a lease expired", lease_id=lease.lease_id, tokens=spent.completion_tokens)
