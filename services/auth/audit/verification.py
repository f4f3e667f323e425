"""Proves the chain in a database against the checkpoints in a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from services.auth.audit.checkpoints import CheckpointFile
from services.auth.audit.proof import Fault, Proof
from services.auth.store.audit import AuditQuery, AuditRecords
from services.auth.store.audit_models import AuditRow
from services.sql.database import Database

BATCH = 1000


async def verify(database: Database, checkpoints: CheckpointFile) -> AsyncIterator[tuple[Proof, list[Fault]]]:
    """Look at the whole chain.

    Yields:
        After each batch the proof so far, and the faults that it found there.

    Raises:
        DependencyUnavailable: The database does not answer.
        OSError: The checkpoints cannot be read.
    """
    # First the checkpoints, then the chain: so none of them can be ahead of it.
    known = await asyncio.to_thread(lambda: list(checkpoints.read()))
    async with database.reading() as session:
        if session.get_bind().dialect.name == "postgresql":
            # One view of the records, whatever is appended or pruned meanwhile.
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        records = AuditRecords(session)
        head = await records.head()
        proof = Proof(head.chain_id)
        yield proof, list(proof.take_checkpoints(known))
        while rows := await records.following(AuditQuery(), proof.last, head.sequence, BATCH):
            yield proof, await asyncio.to_thread(_look, proof, rows)
            session.expunge_all()
        end = (head.sequence, head.hash) if head.sequence else None
        yield proof, list(proof.finish(end))


def _look(proof: Proof, rows: Sequence[AuditRow]) -> list[Fault]:
    return list(proof.take(rows))
