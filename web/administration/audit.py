"""The audit: who did what, and whether anybody changed the record of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from parley.auth.v1.audit_pb2 import (
    AUDIT_DECISION_ALLOWED,
    AUDIT_DECISION_REFUSED,
    AUDIT_DECISION_UNSPECIFIED,
    AuditDecision,
    AuditRecord,
)
from parley.auth.v1.audit_service_pb2 import (
    AuditFault,
    AuditFilter,
    AuditSummary,
    ListAuditRecordsRequest,
)
from parley_client.errors import ParleyError
from web.administration.directory import Directory
from web.administration.fields import Fields
from web.administration.listing import PAGE_SIZE
from web.administration.paged_room import PagedRoom
from web.administration.room import Action
from web.administration.visitor import Visitor

PROOF_SECONDS = 120.0
"""Time that a proof may take in the page; the command has no such end."""

MAX_FAULTS = 20
"""Faults that the page shows; the summary counts them all."""

_DECISIONS: Mapping[str, AuditDecision.ValueType] = {
    "allowed": AUDIT_DECISION_ALLOWED,
    "refused": AUDIT_DECISION_REFUSED,
}


@dataclass
class Proof:
    """What a proof of the chain found."""

    summary: AuditSummary | None = None
    faults: list[AuditFault] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return self.summary is not None and not self.summary.faults


class AuditRoom(PagedRoom[AuditRecord]):
    """The records, newest first."""

    name = "audit"
    label = "Audit"
    permission = "auth.audit.read"

    def __init__(self, visitor: Visitor) -> None:
        """Everything that the person may see."""
        super().__init__(visitor)
        self._directory = Directory(visitor)
        self._proof: Proof | None = None
        self._may_prove: bool | None = None

    def actions(self) -> Mapping[str, Action]:
        """What can be done with the audit."""
        return {**super().actions(), "verify": self._verify}

    async def enter(self) -> str:
        """What is on show now, without the proof that was made before."""
        self._proof = None
        return await super().enter()

    async def load(self) -> None:
        """Ask for the page of records, and for what their users are called."""
        if self._may_prove is None:
            self._may_prove = await self._is_of_root()
        await super().load()
        await self._directory.learn(record.event.user_id for record in self.listing.items)

    def shown(self) -> Mapping[str, Any]:
        """The records, who did it, and the last proof."""
        return {
            **super().shown(),
            "who": self._directory.name,
            "proof": self._proof,
            "may_prove": bool(self._may_prove),
            "fault_kind": lambda fault: AuditFault.Kind.Name(fault.kind).removeprefix("KIND_").lower(),
            "refused": AUDIT_DECISION_REFUSED,
        }

    async def fetch(self, page_token: str) -> tuple[Sequence[AuditRecord], str]:
        """Ask for a page."""
        request = ListAuditRecordsRequest(
            page_size=PAGE_SIZE, page_token=page_token, filter=_filter(self.filter)
        )
        answer = await self._administration.list_audit_records(request)
        return answer.records, answer.next_page_token

    async def _is_of_root(self) -> bool:
        """Whether the person's tenant is the one that may prove the chain; yes where it cannot be told."""
        if not self._visitor.may("auth.tenants.read"):
            return True
        return (await self._administration.get_tenant(self._visitor.tenant_id)).root

    async def _verify(self, _fields: Fields) -> None:
        proof = Proof()
        try:
            async with asyncio.timeout(PROOF_SECONDS), self._administration.verify_audit() as steps:
                async for step in steps:
                    if step.HasField("fault") and len(proof.faults) < MAX_FAULTS:
                        proof.faults.append(step.fault)
                    elif step.HasField("summary"):
                        proof.summary = step.summary
        except TimeoutError:
            message = "The proof takes longer than the page waits. Use `parley audit verify`."
            raise ParleyError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        self._proof = proof


def _filter(fields: Fields) -> AuditFilter:
    """What the filter's controls ask for."""
    asked = AuditFilter(
        user_id=fields.text("user_id"),
        key_id=fields.text("key_id"),
        request_id=fields.text("request_id"),
        method_prefix=fields.text("method_prefix"),
        decision=_DECISIONS.get(fields.text("decision"), AUDIT_DECISION_UNSPECIFIED),
    )
    start, end = fields.time("start"), fields.time("end")
    if start is not None:
        asked.start_time.FromDatetime(start)
    if end is not None:
        asked.end_time.FromDatetime(end)
    return asked
