"""Rates kept by this process alone, for as long as the store is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from cachetools import LRUCache

from services.ledger.ledger import LimitReached
from services.ledger.limits import Account, Dimension, Terms
from services.ledger.wire import Standing

MOST_ACCOUNTS = 10_000
MINUTE_SECONDS = 60.0


class LocalRates:
    """Leaky buckets in memory. Other replicas have their own, so a rate holds per replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure time with this clock, in seconds."""
        self._clock = clock
        self._debts: LRUCache[tuple[str, Dimension], tuple[float, float]] = LRUCache(MOST_ACCOUNTS)

    def admit(self, terms: Terms, tokens: int) -> None:
        """Count a request with this many tokens.

        Raises:
            LimitReached: A rate stands in the way; nothing was counted.
        """
        needs = {Dimension.REQUESTS_PER_MINUTE: 1, Dimension.TOKENS_PER_MINUTE: tokens}
        wanted = [
            (account, dimension, need)
            for account in terms.accounts
            for dimension, need in needs.items()
            if dimension in account.rules
        ]
        now = self._clock()
        debts = {}
        for account, dimension, need in wanted:
            debts[account.name, dimension] = (self._checked(account, dimension, need, now), now)
        self._debts.update(debts)

    def _checked(self, account: Account, dimension: Dimension, need: int, now: float) -> float:
        """The debt with this need in it."""
        rule = account.rules[dimension]
        before, at = self._debts.get((account.name, dimension), (0.0, now))
        debt = max(0.0, before - (now - at) * rule.value / MINUTE_SECONDS) + need
        if debt <= rule.value:
            return debt
        wait = (debt - rule.value) * MINUTE_SECONDS / rule.value if 0 < need <= rule.value else None
        reset = None if wait is None else timedelta(seconds=wait)
        raise LimitReached(
            Standing(rule.subject, dimension, rule.value, int(rule.value - debt + need), reset)
        )
