from __future__ import annotations

from datetime import UTC, datetime

import grpc

from parley.auth.v1 import audit_pb2, audit_service_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth, ulid
from tests.web.scripted_edge import status
from web.administration.audit import AuditRoom


async def test_records_are_listed_with_names_and_details(visit: Visit) -> None:
    shown = await text(AuditRoom(visit("*")))
    assert "refused mallory /parley.auth.v1.UserService/DisableUser PERMISSION_MISSING" in shown
    assert "Address 192.0.2.7" in shown
    assert f"user_id {ulid(1)}" in shown
    assert f"Hash {'38' * 32}" in shown


async def test_names_stay_ids_for_who_may_not_know_them(visit: Visit) -> None:
    shown = await text(AuditRoom(visit("auth.audit.read")))
    assert f"refused {ulid(6)} /parley.auth.v1.UserService/DisableUser" in shown


async def test_a_user_who_cannot_be_found_stays_an_id(visit: Visit, auth: ScriptedAuth) -> None:
    auth.refusals["GetUser"] = status(grpc.StatusCode.NOT_FOUND, "x", "USER_NOT_FOUND")
    assert f"refused {ulid(6)}" in await text(AuditRoom(visit("*")))


async def test_a_call_that_nobody_made_is_told_by_its_peer(visit: Visit, auth: ScriptedAuth) -> None:
    auth.records = [audit_pb2.AuditRecord(sequence=1, event=audit_pb2.AuditEvent(peer="edge"))]
    assert "edge" in await text(AuditRoom(visit("*")))


async def test_the_filter_is_the_platform_s(visit: Visit, auth: ScriptedAuth) -> None:
    await html(
        AuditRoom(visit("*")),
        "filter",
        user_id="u",
        key_id="k",
        request_id="r",
        method_prefix="/parley.auth.v1.",
        decision="refused",
        start="2026-11-01T00:00",
        end="2026-11-02T00:00",
    )
    expected = audit_service_pb2.AuditFilter(
        user_id="u",
        key_id="k",
        request_id="r",
        method_prefix="/parley.auth.v1.",
        decision=audit_pb2.AUDIT_DECISION_REFUSED,
    )
    expected.start_time.FromDatetime(datetime(2026, 11, 1, tzinfo=UTC))
    expected.end_time.FromDatetime(datetime(2026, 11, 2, tzinfo=UTC))
    assert auth.last(audit_service_pb2.ListAuditRecordsRequest).filter == expected


async def test_a_whole_chain_is_proved(visit: Visit) -> None:
    room = AuditRoom(visit("*"))
    shown = await text(room, "verify")
    assert "The chain is whole. 58 records, from 1 to 58." in shown
    assert "3 signed checkpoints agree; the newest vouches for record 50." in shown
    assert "The chain is whole" in await text(room, "next")
    assert "The chain is whole" not in await text(room)


async def test_faults_are_shown_where_they_are(visit: Visit, auth: ScriptedAuth) -> None:
    fault = audit_service_pb2.AuditFault(
        kind=audit_service_pb2.AuditFault.KIND_REMOVED, sequence=7, message="Records 7 to 9 are gone."
    )
    auth.steps = [
        audit_service_pb2.VerifyAuditResponse(progress=audit_service_pb2.AuditProgress(records=5)),
        *[audit_service_pb2.VerifyAuditResponse(fault=fault)] * 30,
        audit_service_pb2.VerifyAuditResponse(summary=audit_service_pb2.AuditSummary(faults=130)),
    ]
    shown = await text(AuditRoom(visit("*")), "verify")
    assert "The chain has 130 faults." in shown
    assert shown.count("removed Records 7 to 9 are gone.") == 20


async def test_a_proof_without_an_end_proves_nothing(visit: Visit, auth: ScriptedAuth) -> None:
    auth.steps = []
    assert "The proof broke off." in await text(AuditRoom(visit("*")), "verify")


async def test_a_refused_proof_is_an_error(visit: Visit, auth: ScriptedAuth) -> None:
    auth.refusals["VerifyAudit"] = status(
        grpc.StatusCode.PERMISSION_DENIED, "Only the root tenant may.", "ROOT_TENANT_ONLY"
    )
    assert "ROOT_TENANT_ONLY" in await text(AuditRoom(visit("*")), "verify")


async def test_the_proof_is_offered_to_the_root_tenant(visit: Visit, auth: ScriptedAuth) -> None:
    assert "Verify the chain" in await text(AuditRoom(visit("*")))
    auth.root = False
    assert "Verify the chain" not in await text(AuditRoom(visit("*")))
    assert "Verify the chain" in await text(AuditRoom(visit("auth.audit.read")))
