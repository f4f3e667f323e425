"""Rolls back by itself what is beyond its limits.

Every replica looks, in a beat, at all rollouts that run; whoever is first changes the row of the
database, and that one alone tells the audit. So there is nobody whose end would end the watch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from parley.auth.v1 import audit_pb2
from parley.inference.v1 import rollout_pb2
from services.inference.beat import beating
from services.inference.rollouts.aliases import Aliases
from services.inference.rollouts.counts import Counts
from services.inference.rollouts.guardrails import breach, limits, window_minutes
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.metrics import ROLLBACKS
from services.inference.rollouts.tally import Tally
from services.inference.rollouts.variants import Alias
from services.rpc.audit import AuditSink, stamped

METHOD = "/parley.inference.v1.RolloutService/RollbackRollout"


class GuardrailWatch:
    """Judges the rollouts that run."""

    def __init__(
        self, library: RolloutLibrary, aliases: Aliases, counts: Counts, audit: AuditSink | None
    ) -> None:
        """Watch these aliases.

        Args:
            library: Where their rollouts end.
            aliases: What this replica knows of them.
            counts: What is known of their variants.
            audit: Told of every rollback; None where nobody is.
        """
        self._library = library
        self._aliases = aliases
        self._counts = counts
        self._audit = audit
        self._log = structlog.get_logger("parley.inference")
        for guardrail in rollout_pb2.Guardrail.values()[1:]:
            ROLLBACKS.labels(_called(guardrail))  # told from now on: a first one is seen only as a growth

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch until the block's end, through any trouble of the store and the database."""
        async with beating(
            self.look,
            "rollout-guardrails",
            waits="rollouts are not judged",
            failed="rollouts were not judged",
        ):
            yield

    async def look(self) -> None:
        """Judge every rollout once.

        Raises:
            DependencyUnavailable: The store or the database does not answer.
        """
        for alias in self._aliases.running():
            if any(limits(alias.guardrails)):
                tallies = await self._counts.recent(alias.rollout_id, window_minutes(alias.guardrails))
                await self._judge(alias, tallies)

    async def _judge(self, alias: Alias, tallies: dict[str, Tally]) -> None:
        for variant in alias.variants:
            if variant.name == alias.stable or not variant.weight:
                continue
            found = breach(alias.guardrails, variant.name, tallies.get(variant.name, Tally()))
            if found is not None:
                await self._roll_back(alias, found)
                return

    async def _roll_back(self, alias: Alias, found: rollout_pb2.GuardrailBreach) -> None:
        if await self._library.roll_back(alias.tenant_id, alias.name, alias.rollout_id, found):
            guardrail = _called(found.guardrail)
            ROLLBACKS.labels(guardrail).inc()
            facts = _facts(alias, guardrail, found)
            self._log.warning("rolled back by a guardrail", tenant_id=alias.tenant_id, **facts)
            if self._audit is not None:
                self._audit.record(_event(alias.tenant_id, facts))
        await self._aliases.refresh(self._library)


def _called(guardrail: rollout_pb2.Guardrail.ValueType) -> str:
    """A guardrail's name in metrics and the audit."""
    return rollout_pb2.Guardrail.Name(guardrail).removeprefix("GUARDRAIL_").lower()


def _facts(alias: Alias, guardrail: str, found: rollout_pb2.GuardrailBreach) -> dict[str, str]:
    return {
        "name": alias.name,
        "rollout_id": alias.rollout_id,
        "variant_name": found.variant_name,
        "guardrail": guardrail,
        "value": f"{found.value:.6g}",
        "limit": f"{found.limit:.6g}",
        "samples": str(found.samples),
    }


def _event(tenant_id: str, facts: dict[str, str]) -> audit_pb2.AuditEvent:
    """What the audit is told: as of the method, called by nobody."""
    return stamped(
        audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_ENDED,
            method=METHOD,
            tenant_id=tenant_id,
            decision=audit_pb2.AUDIT_DECISION_ALLOWED,
            code="OK",
            resources=facts,
        )
    )
