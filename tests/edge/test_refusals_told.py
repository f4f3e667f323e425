"""The real Envoy tells the audit what it refused itself, and nothing else."""

from __future__ import annotations

import grpc
import pytest

from parley.auth.v1 import audit_pb2, session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from tests.conftest import TokenMaker
from tests.edge.conftest import Mesh
from tests.edge.front import Front, eventually

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

PATH = "/api/v1/me"
METHOD = "/parley.auth.v1.SessionService/WhoAmI"


async def told(mesh: Mesh, request_id: str) -> audit_pb2.AuditEvent:
    """What was told of a request."""

    async def event() -> audit_pb2.AuditEvent | None:
        return next((event for event in mesh.told.events if event.request_id == request_id), None)

    return await eventually(event)


@pytest.mark.parametrize(
    ("path", "headers", "method", "reason", "code"),
    [
        (PATH, {}, METHOD, "jwt_authn_access_denied{Jwt_is_missing}", "UNAUTHENTICATED"),
        (
            PATH,
            {"authorization": "Bearer a.b.c"},
            METHOD,
            "jwt_authn_access_denied{Jwt_header_is_an_invalid_Base64url_encoded}",
            "UNAUTHENTICATED",
        ),
        (PATH, {"origin": "https://evil.example"}, PATH, "rbac_access_denied", "PERMISSION_DENIED"),
        (f"{PATH}?unknown=1", {}, PATH, "early_grpc_json_transcode_failure", "INVALID_ARGUMENT"),
        ("/api/v1/nothing?token=secret", {}, "/api/v1/nothing", "cluster_not_found", "UNIMPLEMENTED"),
        (PATH, {"authorization": "Bearer parley_hung"}, METHOD, "ext_authz_error", "UNAVAILABLE"),
    ],
)
async def test_a_refusal_of_the_edge_is_told(
    edge: Front, mesh: Mesh, path: str, headers: dict[str, str], method: str, reason: str, code: str
) -> None:
    async with edge.http() as client:
        answer = await client.get(path, headers=headers)
    event = await told(mesh, answer.headers["x-request-id"])
    assert event.decision == audit_pb2.AUDIT_DECISION_REFUSED
    assert (event.method, event.code) == (method, code)
    assert event.reason.startswith(reason)
    assert event.client_address == "127.0.0.1"
    assert event.resources["http_status"] == str(answer.status_code)
    assert "secret" not in str(event)


async def test_a_grpc_caller_s_refusal_has_the_same_code(edge: Front, mesh: Mesh) -> None:
    async with edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await SessionServiceStub(channel).WhoAmI(session_service_pb2.WhoAmIRequest())
    metadata = dict(caught.value.initial_metadata() or ()) | dict(caught.value.trailing_metadata() or ())
    event = await told(mesh, str(metadata["x-request-id"]))
    assert (event.method, event.code) == (METHOD, "UNAUTHENTICATED")


async def test_what_others_decided_is_theirs_to_tell(edge: Front, mesh: Mesh, tokens: TokenMaker) -> None:
    async with edge.http() as client:
        good = await client.get(PATH, headers=dict(tokens.metadata("*")))
        no_key = await client.get(PATH, headers={"x-api-key": "parley_unknown"})
        forbidden = await client.get("/api/v1/tools", headers=dict(tokens.metadata("other")))
        probe = await client.get("/healthz")
        last = await client.get(PATH)
    assert [answer.status_code for answer in (good, no_key, forbidden, probe, last)] == [
        200,
        401,
        403,
        200,
        401,
    ]
    await told(mesh, last.headers["x-request-id"])
    ids = {event.request_id for event in mesh.told.events}
    assert not ids & {answer.headers["x-request-id"] for answer in (good, no_key, forbidden)}
