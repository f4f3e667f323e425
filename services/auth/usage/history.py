"""What accounts used, from the database, for a ledger that lost its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from services.auth.quota_upkeep import AccountUse
from services.auth.store.usage import UsageRecords
from services.ledger.limits import NANOS_PER_MICRO
from services.sql.database import Database


class StoredHistory:
    """Sums of what was counted; times are whole days, in UTC."""

    def __init__(self, database: Database) -> None:
        """Read this database."""
        self._database = database

    async def since(self, time: datetime) -> Sequence[AccountUse]:
        """See `services.auth.quota_upkeep.UsageHistory.since`."""
        async with self._database.reading() as session:
            rows = await UsageRecords(session).since(time.date())
        sums: dict[str, tuple[int, int]] = {}
        for row in rows:
            for account in _accounts(row):
                tokens, nanos = sums.get(account, (0, 0))
                tokens += int(row.prompt_tokens) + int(row.completion_tokens)
                sums[account] = (tokens, nanos + int(row.cost_micros) * NANOS_PER_MICRO)
        return [AccountUse(account, *amounts) for account, amounts in sorted(sums.items())]


def _accounts(row: Any) -> Iterator[str]:
    """Where the row's amounts are counted; named as in `services.ledger.quotas.account_name`."""
    if row.key_id:
        yield f"key/{row.key_id}"
    yield f"user/{row.user_id}"
    if row.model:
        yield f"model/{row.tenant_id}/{row.model}"
    yield f"tenant/{row.tenant_id}"
