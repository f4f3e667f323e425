"""When keys were last used, written off the request path and at most once a minute for each."""

from __future__ import annotations

from datetime import datetime

from cachetools import LRUCache

from services.auth.clock import Clock
from services.auth.store.keys import KeyRecords
from services.sql.database import Database

CAPACITY = 100_000


class LastUse:
    """Collects uses until `flush` writes them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Write to this database."""
        self._database = database
        self._clock = clock
        self._waiting: dict[str, datetime] = {}
        self._written: LRUCache[str, datetime] = LRUCache(CAPACITY)

    def note(self, key_id: str) -> None:
        """Remember that a key was used now."""
        minute = self._clock().replace(second=0, microsecond=0)
        # When too many keys wait, further ones are written with their next use.
        if self._written.get(key_id) != minute and len(self._waiting) < CAPACITY:
            self._waiting[key_id] = minute

    @property
    def waiting(self) -> int:
        """How many keys' uses wait to be written."""
        return len(self._waiting)

    async def flush(self) -> None:
        """Write what was noted.

        Raises:
            DependencyUnavailable: The database does not answer; nothing is lost.
        """
        uses = dict(self._waiting)
        if not uses:
            return
        async with self._database.writing() as session:
            await KeyRecords(session).note_uses(uses)
        self._written.update(uses)
        self._waiting = {key_id: time for key_id, time in self._waiting.items() if uses.get(key_id) != time}
