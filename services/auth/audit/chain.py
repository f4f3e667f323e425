"""Appends events to the chain: one writer at a time, over all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from parley.auth.v1 import audit_pb2
from services.auth.audit.body import Body, genesis, link
from services.auth.store.audit import AuditRecords
from services.auth.store.audit_models import AuditChainHead
from services.sql.database import Database

# So many in one transaction: making their texts holds everyone else up for some milliseconds.
BATCH = 100


@dataclass(frozen=True)
class Position:
    """A place in a chain.

    Attributes:
        chain_id: Which chain.
        sequence: The record's number; 0 before the first.
        hash: The record's hash.
    """

    chain_id: str
    sequence: int
    hash: bytes


class AuditChain:
    """Writes records. Replicas that share the database share the chain."""

    def __init__(self, database: Database) -> None:
        """Write to this database."""
        self._database = database
        self._turn = asyncio.Lock()
        self._last: Position | None = None
        self._written = asyncio.Event()

    @property
    def last(self) -> Position | None:
        """The newest record that this process wrote."""
        return self._last

    async def append(self, service: str, events: Sequence[audit_pb2.AuditEvent]) -> None:
        """Append events, in this order; those that are there already are passed over.

        Args:
            service: Who tells of them.
            events: The events.

        Raises:
            DependencyUnavailable: The database does not answer; what was not written can be sent again.
        """
        for start in range(0, len(events), BATCH):
            await self._append(service, events[start : start + BATCH])

    async def _append(self, service: str, events: Sequence[audit_pb2.AuditEvent]) -> None:
        # Within a process a lock is cheaper than waiting in the database with a connection each.
        async with self._turn:
            async with self._database.writing() as session:
                records = AuditRecords(session)
                head = await records.locked_head()
                known = await records.known(event.event_id for event in events)
                fresh = {event.event_id: event for event in events if event.event_id not in known}
                rows = list(_rows(head, service, fresh.values()))
                if not rows:
                    return
                await records.add(rows)
                head.sequence, head.hash = rows[-1]["sequence"], rows[-1]["hash"]
            self._last = Position(head.chain_id, head.sequence, head.hash)
            self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for records."""
        self._written.set()
        self._written = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for this process to write something, for at most this long: another one may write too."""
        written = self._written
        try:
            async with asyncio.timeout(seconds):
                await written.wait()
        except TimeoutError:
            return


def _rows(
    head: AuditChainHead, service: str, events: Iterable[audit_pb2.AuditEvent]
) -> Iterator[dict[str, Any]]:
    """The rows that follow the head."""
    previous = head.hash if head.sequence else genesis(head.chain_id)
    for sequence, event in enumerate(events, start=head.sequence + 1):
        body = Body(sequence, service, event)
        text = body.text()
        fresh = link(previous, text)
        chained = {"sequence": sequence, "body": text, "previous_hash": previous, "hash": fresh}
        yield {**chained, **body.columns()}
        previous = fresh
