"""Counts the calls that callers make themselves; those of a run are the run's, which inference counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ulid import ULID

from services.ledger.admission import Admission, Spent
from services.ledger.limits import Payer
from services.rpc.call import current_call, current_principal
from services.tools.call_stream import Request
from services.tools.runner import Invocation

RUNS_COME_FROM = "inference"


@dataclass
class Tally:
    """Tool calls of one stream so far."""

    calls: int = 0

    async def counting(self, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
        """The requests, counted as they pass."""
        async for request in requests:
            self.calls += isinstance(request, Invocation)
            yield request


class Door:
    """Holds each stream to its caller's limits: a request that takes a place and uses no tokens."""

    def __init__(self, admission: Admission | None) -> None:
        """Ask this admission; without one nothing is counted."""
        self._admission = admission

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[Tally]:
        """Let the current call in until the block's end, and then record its tally.

        Raises:
            RateLimited: There are too many requests or streams for now.
            BudgetExhausted: A budget allows nothing at all.
            QuotaUnavailable: The caller's limits cannot be looked at.
        """
        tally = Tally()
        if self._admission is None or current_call().peer == RUNS_COME_FROM:
            yield tally
            return
        caller = current_principal()
        payer = Payer(caller.tenant_id, caller.user_id, caller.key_id)
        lease = await self._admission.admit(str(ULID()), payer, answers=False)
        try:
            yield tally
        finally:
            await self._admission.settle(lease, Spent(tool_calls=tally.calls))
