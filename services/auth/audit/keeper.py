"""Looks after the chain: signs checkpoints, and lets go of records whose time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from parley.auth.v1 import audit_pb2
from services.auth.audit.chain import AuditChain, Position
from services.auth.audit.checkpoints import Checkpoint, CheckpointFile, CheckpointKind, CheckpointSigner
from services.auth.clock import Clock
from services.auth.store.audit import AuditRecords
from services.rpc.audit import AuditSink, stamped
from services.rpc.errors import ServiceError
from services.sql.database import Database

PRUNE_SECONDS = 3600.0
PRUNE_BATCH = 2000
RETENTION = "RETENTION"

log = structlog.get_logger("parley.audit")


@dataclass(frozen=True)
class KeepingRules:
    """How the chain is looked after.

    Attributes:
        checkpoint_records: A checkpoint is written after so many records at the latest.
        checkpoint_seconds: And so long after a record at the latest.
        retention: Records are kept for so long; None for ever.
    """

    checkpoint_records: int
    checkpoint_seconds: float
    retention: timedelta | None


class AuditKeeper:
    """Signs and prunes until it is cancelled."""

    def __init__(
        self,
        database: Database,
        chain: AuditChain,
        signer: CheckpointSigner,
        checkpoints: CheckpointFile,
        rules: KeepingRules,
        sink: AuditSink,
        clock: Clock,
    ) -> None:
        """Look after this chain; pruning itself is told to the sink."""
        self._database = database
        self._chain = chain
        self._signer = signer
        self._checkpoints = checkpoints
        self._rules = rules
        self._sink = sink
        self._clock = clock
        self._signed = 0

    async def run(self) -> None:
        """Do what is due, for ever; what fails is tried again at its next time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sign())
            if self._rules.retention is not None:
                group.create_task(self._prune())

    async def _sign(self) -> None:
        while True:
            await self._due()
            await _attempt(self.checkpoint)

    async def _prune(self) -> None:
        while True:
            await _attempt(self.prune)
            await asyncio.sleep(PRUNE_SECONDS)

    async def _due(self) -> None:
        """Wait until a checkpoint is due."""
        loop = asyncio.get_running_loop()
        while self._unsigned() == 0:
            await self._chain.wait(self._rules.checkpoint_seconds)
        end = loop.time() + self._rules.checkpoint_seconds
        while self._unsigned() < self._rules.checkpoint_records and (left := end - loop.time()) > 0:
            await self._chain.wait(left)

    def _unsigned(self) -> int:
        """Records since the last checkpoint, as far as this process wrote them."""
        last = self._chain.last
        return last.sequence - self._signed if last is not None else 0

    async def checkpoint(self) -> None:
        """Sign the newest record that this process wrote, if that was not done yet.

        Raises:
            OSError: The checkpoint cannot be written.
        """
        last = self._chain.last
        if last is not None and last.sequence > self._signed:
            await self._state(last, CheckpointKind.RECORD)
            self._signed = last.sequence

    async def prune(self) -> None:
        """Delete the records whose time is over, once a signed checkpoint vouches for their end.

        Raises:
            DependencyUnavailable: The database does not answer.
            OSError: The checkpoint cannot be written; nothing was deleted.
        """
        end = await self._over()
        if end is None:
            return
        await self._state(end, CheckpointKind.RETENTION)
        gone, count = 0, PRUNE_BATCH
        while count == PRUNE_BATCH:
            async with self._database.writing() as session:
                count = await AuditRecords(session).prune(end.sequence, PRUNE_BATCH)
            gone += count
        await asyncio.to_thread(self._checkpoints.forget, end.sequence)
        log.info("audit records deleted", records=gone, last_sequence=end.sequence)
        self._sink.record(_pruned(end, gone))

    async def _over(self) -> Position | None:
        """The newest record that need not be kept; None where all must be. The newest of all always is."""
        if self._rules.retention is None:
            return None
        async with self._database.reading() as session:
            records = AuditRecords(session)
            head = await records.head()
            first_kept = await records.first_since(self._clock() - self._rules.retention)
            last = min(first_kept or head.sequence, head.sequence) - 1
            found = await records.hash_of(last)
        return Position(head.chain_id, last, found) if found is not None else None

    async def _state(self, position: Position, kind: CheckpointKind) -> None:
        line = self._signer.sign(Checkpoint(position, kind, self._clock()))
        await asyncio.to_thread(self._checkpoints.add, line)


def _pruned(end: Position, gone: int) -> audit_pb2.AuditEvent:
    """What the audit says of its own pruning."""
    return stamped(
        audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_ENDED,
            decision=audit_pb2.AUDIT_DECISION_ALLOWED,
            reason=RETENTION,
            code="OK",
            resources={"records": str(gone), "last_sequence": str(end.sequence)},
        )
    )


async def _attempt(chore: Callable[[], Awaitable[None]]) -> None:
    try:
        await chore()
    except (ServiceError, SQLAlchemyError, OSError) as error:
        log.warning("audit chore failed", chore=chore.__qualname__, error=type(error).__name__)
