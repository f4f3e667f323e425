"""A chain on both databases, with its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from parley.auth.v1 import audit_pb2
from services.auth.audit.chain import AuditChain
from services.auth.audit.checkpoints import CheckpointFile, CheckpointSigner
from services.auth.audit.keeper import AuditKeeper, KeepingRules
from services.auth.audit.proof import Fault, FaultKind, Proof
from services.auth.audit.verification import verify
from services.rpc.audit import stamped
from services.sql.database import Database
from tests.auth.conftest import FakeClock

DAY = timedelta(days=1)


class Sink:
    def __init__(self) -> None:
        self.events: list[audit_pb2.AuditEvent] = []

    def admit(self) -> None:
        """Never full."""

    def record(self, event: audit_pb2.AuditEvent) -> None:
        self.events.append(event)


@dataclass
class Ledger:
    """A chain and all that looks after it."""

    database: Database
    folder: Path
    clock: FakeClock
    chain: AuditChain
    signer: CheckpointSigner
    checkpoints: CheckpointFile
    keeper: AuditKeeper
    sink: Sink = field(default_factory=Sink)

    async def write(self, *methods: str) -> None:
        """Append events of these methods, and sign the end."""
        await self.chain.append("auth", [event(method, self.clock) for method in methods])
        await self.keeper.checkpoint()

    async def prove(self) -> tuple[Proof, list[Fault]]:
        """The whole proof, and every fault."""
        steps = [step async for step in verify(self.database, self.checkpoints)]
        return steps[-1][0], [fault for _, found in steps for fault in found]

    async def found(self) -> list[tuple[FaultKind, int, int]]:
        return [(fault.kind, fault.first, fault.last) for fault in (await self.prove())[1]]

    async def tamper(self, *statements: str) -> None:
        """Do what someone does who owns the database: the triggers go first."""
        postgresql = self.database.engine.dialect.name == "postgresql"
        off = (
            ("ALTER TABLE audit_records DISABLE TRIGGER ALL", "ALTER TABLE audit_chain DISABLE TRIGGER ALL")
            if postgresql
            else tuple(f"DROP TRIGGER {name}" for name in SQLITE_TRIGGERS)
        )
        async with self.database.writing() as session:
            for statement in (*off, *statements):
                await session.execute(text(statement))


SQLITE_TRIGGERS = ("audit_records_update", "audit_records_delete", "audit_chain_delete")


def event(method: str, clock: FakeClock, **fields: str) -> audit_pb2.AuditEvent:
    made = stamped(
        audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_ENDED,
            decision=audit_pb2.AUDIT_DECISION_ALLOWED,
            method=method,
            tenant_id="tenant",
            **fields,
        )
    )
    made.time.FromDatetime(clock())
    return made


@pytest.fixture
def make_ledger(tmp_path: Path, clock: FakeClock) -> Callable[..., Ledger]:
    """A replica: its own chain object over the shared database and folder."""

    def make(database: Database, **rules: object) -> Ledger:
        told = {"checkpoint_records": 100, "checkpoint_seconds": 60.0, "retention": DAY, **rules}
        chain, signer = AuditChain(database), CheckpointSigner(tmp_path / "audit-signing-key")
        checkpoints = CheckpointFile(tmp_path / "checkpoints", signer.public)
        sink = Sink()
        keeper = AuditKeeper(database, chain, signer, checkpoints, KeepingRules(**told), sink, clock)  # type: ignore[arg-type]
        return Ledger(database, tmp_path, clock, chain, signer, checkpoints, keeper, sink)

    return make


@pytest.fixture
def ledger(database: Database, make_ledger: Callable[..., Ledger]) -> Ledger:
    return make_ledger(database)
