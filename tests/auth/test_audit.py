"""The audit of the running service: what calls leave in it, who may see it, and what proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from parley.auth.v1 import audit_pb2, audit_service_pb2, session_service_pb2
from parley.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from services.auth.settings import AuthSettings
from services.rpc.audit import stamped, told_to_auth
from tests.auth.conftest import PASSWORD, Auth, bearer, reason

ALLOWED, REFUSED = audit_pb2.AUDIT_DECISION_ALLOWED, audit_pb2.AUDIT_DECISION_REFUSED


async def administrator(auth: Auth) -> str:
    """A token of the first admin, who belongs to the root tenant."""
    password = (auth.data_path / "admin-password").read_text().strip()
    return str((await auth.login("admin", password)).access_token)


def audit(auth: Auth, peer: str = "edge") -> Any:
    return AuditServiceStub(auth.connect(peer))


async def records(auth: Auth, token: str, count: int = 1, **wanted: Any) -> list[audit_pb2.AuditRecord]:
    """The records that match, newest first, once there are so many."""
    request = audit_service_pb2.WatchAuditRecordsRequest(filter=wanted, after_sequence=0)
    watch = audit(auth).WatchAuditRecords(request, metadata=bearer(token), timeout=20)
    seen = 0
    while seen < count:
        seen += len((await watch.read()).records)
    watch.cancel()
    listed = audit_service_pb2.ListAuditRecordsRequest(filter=wanted)
    return list((await audit(auth).ListAuditRecords(listed, metadata=bearer(token))).records)


async def test_a_change_is_told_with_who_and_what_and_no_secret(auth: Auth) -> None:
    token = await administrator(auth)
    made = await auth.create_key(token, name="laptop", scopes=["inference.*"])
    (record,) = await records(auth, token, method_prefix="/parley.auth.v1.KeyService/CreateKey")
    event = record.event
    who = await auth.who(token)
    assert (event.decision, event.code, record.service) == (ALLOWED, "OK", "auth")
    assert (event.user_id, event.tenant_id, event.peer) == (who.user_id, who.tenant_id, "edge")
    assert event.session_id
    assert event.resources["name"] == "laptop"
    assert event.resources["scopes"] == "inference.*"
    assert event.resources["answer.key.key_id"] == made.key.key_id
    assert made.secret not in str(record)


async def test_a_login_tells_who_came_in_and_never_the_password(auth: Auth) -> None:
    user = await auth.add_user("ada", "user")
    await auth.login("ada")
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.login("ada", "wrong horse")
    token = await administrator(auth)
    path = "/parley.auth.v1.SessionService/Login"
    (refused,) = await records(auth, token, method_prefix=path, decision=REFUSED)
    (allowed,) = await records(auth, token, method_prefix=path, user_id=user.user_id)
    assert (refused.event.code, refused.event.reason) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    assert (allowed.event.code, allowed.event.tenant_id) == ("OK", user.tenant_id)
    for record in (refused, allowed):
        assert not {"ada", PASSWORD, "wrong horse"} & set(record.event.resources.values())
        assert PASSWORD not in record.body


async def test_a_refused_key_is_told_by_its_prefix(auth: Auth) -> None:
    token = await administrator(auth)
    key = await auth.create_key(token)
    await auth.revoke_key(token, key.key.key_id)
    await auth.check(key.secret)
    (record,) = await records(auth, token, method_prefix="/envoy.service.auth.v3")
    assert (record.event.decision, record.event.reason) == (REFUSED, "KEY_INVALID")
    assert record.event.resources["key_prefix"] == key.key.prefix
    assert key.secret not in record.body


async def test_a_missing_permission_is_told(auth: Auth) -> None:
    await auth.add_user("vera", "viewer")
    viewer = (await auth.login("vera")).access_token
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await audit(auth).ListAuditRecords(
            audit_service_pb2.ListAuditRecordsRequest(), metadata=bearer(viewer)
        )
    assert reason(caught) == "PERMISSION_MISSING"
    (record,) = await records(
        auth, await administrator(auth), method_prefix="/parley.auth.v1.AuditService/List"
    )
    assert (record.event.decision, record.event.reason) == (REFUSED, "PERMISSION_MISSING")


async def test_other_services_tell_once_however_often_they_say_it(auth: Auth) -> None:
    event = stamped(
        audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_ENDED, decision=ALLOWED, method="/parley.tools.v1.ToolService/Execute"
        )
    )
    request = audit_service_pb2.RecordEventsRequest(events=[event])
    for _ in range(2):
        await audit(auth, "tools").RecordEvents(request)
    token = await administrator(auth)
    found = await records(auth, token, method_prefix="/parley.tools")
    assert [record.service for record in found] == ["tools"]


@pytest.mark.parametrize("peer", ["edge", "web", "operator"])
async def test_only_services_may_tell(auth: Auth, peer: str) -> None:
    event = stamped(audit_pb2.AuditEvent(stage=audit_pb2.AUDIT_STAGE_ENDED, decision=ALLOWED))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await audit(auth, peer).RecordEvents(audit_service_pb2.RecordEventsRequest(events=[event]))
    assert reason(caught) == "PEER_NOT_ALLOWED"


async def test_a_tenant_sees_its_own_records_alone(auth: Auth) -> None:
    root = await administrator(auth)
    await auth.add_user("olga", "admin")
    other = (await auth.login("olga")).access_token
    who = await auth.who(other)
    await auth.list_keys(root)
    found = await records(auth, other)
    assert {record.event.tenant_id for record in found} == {who.tenant_id}
    stub, mine = audit(auth), (await auth.who(root)).tenant_id
    for request in (
        stub.ListAuditRecords(
            audit_service_pb2.ListAuditRecordsRequest(filter={"tenant_id": mine}), metadata=bearer(other)
        ),
        stub.VerifyAudit(audit_service_pb2.VerifyAuditRequest(), metadata=bearer(other)).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await request
        assert reason(caught) == "ROOT_TENANT_ONLY"


async def test_pages_cover_everything_once(auth: Auth) -> None:
    token = await administrator(auth)
    for _ in range(5):
        await auth.list_keys(token)
    wanted = {"method_prefix": "/parley.auth.v1.KeyService/"}
    await records(auth, token, 5, **wanted)
    seen: list[int] = []
    request = audit_service_pb2.ListAuditRecordsRequest(filter=wanted, page_size=2)
    while True:
        page = await audit(auth).ListAuditRecords(request, metadata=bearer(token))
        seen += [record.sequence for record in page.records]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(seen) == 5
    assert seen == sorted(set(seen), reverse=True)


async def test_an_export_can_be_proven_elsewhere(auth: Auth) -> None:
    token = await administrator(auth)
    await auth.list_keys(token)
    await records(auth, token, method_prefix="/parley.auth.v1.KeyService/")
    request = audit_service_pb2.ExportAuditRecordsRequest()
    export = audit(auth).ExportAuditRecords(request, metadata=bearer(token))
    exported = [record async for part in export for record in part.records]
    assert [record.sequence for record in exported] == list(range(1, len(exported) + 1))
    for record in exported:
        digest = hashlib.sha256(bytes.fromhex(record.previous_hash) + record.body.encode())
        assert record.hash == digest.hexdigest()


async def verdict(auth: Auth, token: str) -> tuple[list[str], audit_service_pb2.AuditSummary]:
    call = audit(auth).VerifyAudit(audit_service_pb2.VerifyAuditRequest(), metadata=bearer(token))
    steps = [step async for step in call]
    faults = [step.fault.message for step in steps if step.WhichOneof("step") == "fault"]
    return faults, steps[-1].summary


async def test_the_proof_finds_what_was_tampered_with(auth: Auth) -> None:
    token = await administrator(auth)
    await auth.list_keys(token)
    await records(auth, token, method_prefix="/parley.auth.v1.KeyService/")
    faults, summary = await verdict(auth, token)
    assert (faults, summary.faults) == ([], 0)
    assert summary.records >= 2
    postgresql = auth.database.engine.dialect.name == "postgresql"
    off = (
        "ALTER TABLE audit_records DISABLE TRIGGER ALL" if postgresql else "DROP TRIGGER audit_records_update"
    )
    async with auth.database.writing() as session:
        await session.execute(text(off))
        await session.execute(text("UPDATE audit_records SET user_id = 'nobody' WHERE sequence = 1"))
    faults, summary = await verdict(auth, token)
    assert (faults, summary.faults) == (["record 1: not what was written"], 1)


async def test_probes_and_keys_leave_nothing(auth: Auth) -> None:
    await auth.sessions.GetJwks(session_service_pb2.GetJwksRequest())
    token = await administrator(auth)
    found = await records(auth, token)
    assert all("GetJwks" not in record.event.method for record in found)


async def test_what_a_service_saw_arrives_in_the_chain(
    auth: Auth, auth_settings: Callable[..., AuthSettings]
) -> None:
    event = stamped(
        audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_STARTED,
            decision=ALLOWED,
            method="/parley.inference.v1.InferenceService/Chat",
        )
    )
    async with told_to_auth(auth.connect("inference"), auth_settings()) as queue:
        queue.record(event)
    assert queue.waiting == 0
    (record,) = await records(auth, await administrator(auth), method_prefix="/parley.inference")
    assert (record.service, record.event) == ("inference", event)
