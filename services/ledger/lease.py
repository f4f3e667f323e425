"""One request's lease, as the process that spends it holds it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from services.ledger.ledger import Grant, LeaseGone, Ledger, LedgerUnavailable
from services.ledger.limits import Payer, Terms
from services.ledger.metrics import STOPPED
from services.ledger.wire import Standing
from services.rpc.quota_errors import QuotaUnavailable


@dataclass(frozen=True, slots=True)
class LeaseLife:
    """How leases are held.

    Attributes:
        slice_tokens: Most tokens of answer that a lease has and has not used.
        seconds: When a lease expires that nobody renews.
    """

    slice_tokens: int = 64
    seconds: float = 15.0


class Lease:
    """What a request may use: a slice ahead of what it has used, and never more.

    `covers` starts the next extension when half a slice is left, so that who
    spends rarely waits for the store; `wait_for_more` is for when nothing is.
    """

    def __init__(
        self,
        lease_id: str,
        payer: Payer,
        terms: Terms,
        grant: Grant | None,
        ledger: Ledger,
        life: LeaseLife,
    ) -> None:
        """Hold a lease.

        Args:
            lease_id: Names it.
            payer: Who asks.
            terms: What it is held to.
            grant: What it may use so far; None where the ledger holds no lease,
                because nothing limits it or the store is away.
            ledger: Where it is extended.
            life: How it is held.
        """
        self.lease_id = lease_id
        self.payer = payer
        self.terms = terms
        self.standing: Standing | None = grant.standing if grant else None
        self._ledger = ledger
        self._life = life
        self._held = grant is not None
        self._prompt = grant.prompt if grant else 0
        self._granted = grant.completion if grant else 0
        self._short = False
        self._extending: asyncio.Task[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether the ledger holds a lease that must be renewed."""
        return self._held

    @property
    def ceiling(self) -> int | None:
        """Tokens of answer that may be used by now; None where no budget limits them."""
        return self._granted if self._held and self.terms.has_budget else None

    def covers(self, used: int) -> bool:
        """Whether another token of answer is granted when this many are used."""
        if not self._held:
            return True
        left = self._granted - used
        if 2 * left <= self._life.slice_tokens and self._extending is None and not self._short:
            self._extend(self._prompt, used)
        return left > 0 or not self.terms.has_budget

    async def wait_for_more(self, used: int) -> bool:
        """Ask for more where nothing is left.

        Returns:
            False where a budget has nothing left.

        Raises:
            QuotaUnavailable: The store does not answer, or lost the lease.
        """
        if self._extending is not None:
            await asyncio.shield(self._extending)
        if self._granted <= used:
            # What was short a moment ago may have been given back by others since.
            await self._ask(self._prompt, used)
        if self._granted <= used:
            STOPPED.inc()
        return self._granted > used

    async def begin_turn(self, prompt: int, used: int) -> bool:
        """Ask for another prompt.

        Args:
            prompt: Tokens of all prompts, this one included.
            used: Tokens of answer used so far.

        Returns:
            False where a budget does not have it.

        Raises:
            QuotaUnavailable: The store does not answer, or lost the lease.
        """
        if not self._held:
            return True
        if self._extending is not None:
            await asyncio.shield(self._extending)
        try:
            await self._ask(prompt, used)
        except QuotaUnavailable:
            if self.terms.has_budget:
                raise
            self._prompt = prompt
        if self._prompt < prompt:
            STOPPED.inc()
        return self._prompt >= prompt

    async def renew(self) -> None:
        """Keep the lease from expiring. That it is gone shows when more is needed.

        Raises:
            LedgerUnavailable: The store does not answer.
        """
        if not self._held or self._extending is not None:
            return
        try:
            await self._request(self._prompt, self._granted, self._granted)
        except QuotaUnavailable as error:
            if isinstance(error.__cause__, LedgerUnavailable):
                raise error.__cause__ from None

    async def settle(self, prompt: int, completion: int, record: bytes) -> None:
        """End the lease with what was used.

        Raises:
            LedgerUnavailable: The store does not answer.
        """
        self._held = False
        if self._extending is not None:
            # Its answer must not come after the end: it would be for a lease that is over.
            await asyncio.gather(self._extending, return_exceptions=True)
        await self._ledger.settle(
            self.lease_id, self.terms, prompt=prompt, completion=completion, record=record
        )

    def _extend(self, prompt: int, used: int) -> None:
        """Ask in the background."""

        async def extend() -> None:
            try:
                with suppress(QuotaUnavailable):
                    await self._ask(prompt, used)
            finally:
                self._extending = None

        self._extending = asyncio.get_running_loop().create_task(extend())

    async def _ask(self, prompt: int, used: int) -> None:
        """Ask for a whole slice beyond what is used."""
        wanted = used + self._life.slice_tokens
        await self._request(prompt, wanted, used)
        self._short = self._granted < wanted

    async def _request(self, prompt: int, wanted: int, used: int) -> None:
        try:
            grant = await self._ledger.extend(
                self.lease_id, self.terms, prompt=prompt, wanted=wanted, used=used, seconds=self._life.seconds
            )
        except (LedgerUnavailable, LeaseGone) as error:
            self._short = True
            raise QuotaUnavailable from error
        # Of two answers that cross, the one with more prompts is the later; within a turn a grant only grows.
        if grant.prompt > self._prompt:
            self._prompt, self._granted = grant.prompt, grant.completion
        elif grant.prompt == self._prompt:
            self._granted = max(self._granted, grant.completion)
