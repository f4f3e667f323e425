"""The server and its interceptors, over real mTLS, in all four shapes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from services.rpc.channel import open_channel
from services.rpc.errors import error_info, status_of
from services.rpc.leaving import LEAVE_SIGNAL
from services.rpc.policies import PolicyMissing
from services.rpc.server import RpcServer
from tests.rpc.conftest import GOLD_TENANT, SHAPES, ToyMesh, ToyServicer

shapes = pytest.mark.parametrize("shape", SHAPES)


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_info(status_of(error))
    assert info is not None, error
    return f"{info.domain}/{info.reason}"


@shapes
async def test_a_permitted_call_is_served(mesh: ToyMesh, tokens: Any, shape: str) -> None:
    metadata = (*tokens.metadata("toy.use"), ("x-request-id", "request-0001"))
    answers = await mesh.call(shape, mesh.toy.ToyRequest(behaviour="hello"), metadata=metadata)
    assert answers[-1].text == "hello edge request-0001"


@shapes
async def test_a_request_id_that_could_forge_a_log_line_is_replaced(
    mesh: ToyMesh, tokens: Any, shape: str
) -> None:
    metadata = (*tokens.metadata("toy.use"), ("x-request-id", 'x" ,"evil":"1'))
    answers = await mesh.call(shape, mesh.toy.ToyRequest(behaviour="hello"), metadata=metadata)
    assert "evil" not in answers[-1].text


@shapes
async def test_without_a_token_nobody_gets_in(mesh: ToyMesh, shape: str) -> None:
    error = await mesh.refusal(shape, mesh.toy.ToyRequest())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason(error) == "policy.parley/TOKEN_MISSING"


@shapes
async def test_a_token_without_the_permission_is_refused(mesh: ToyMesh, tokens: Any, shape: str) -> None:
    error = await mesh.refusal(shape, mesh.toy.ToyRequest(), metadata=tokens.metadata("toy.look"))
    info = error_info(status_of(error))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert info is not None
    assert (info.reason, dict(info.metadata)) == ("PERMISSION_MISSING", {"permission": "toy.use"})


@shapes
async def test_a_sister_service_may_not_speak_where_only_the_edge_may(
    mesh: ToyMesh, tokens: Any, shape: str
) -> None:
    error = await mesh.refusal(
        shape, mesh.toy.ToyRequest(), peer="inference", metadata=tokens.metadata("toy.use")
    )
    assert reason(error) == "policy.parley/PEER_NOT_ALLOWED"


@shapes
async def test_a_certificate_of_another_authority_does_not_connect(
    mesh: ToyMesh, tokens: Any, foreign_authority: Any, authority: Any, shape: str
) -> None:
    foreign = foreign_authority.issue("edge")
    stranger = type(foreign)(foreign.certificate, foreign.private_key, authority.certificate_path)
    channel = mesh.connect("edge", stranger)
    error = await mesh_error(mesh, channel, shape, tokens.metadata("toy.use"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def mesh_error(mesh: ToyMesh, channel: Any, shape: str, metadata: Any) -> grpc.aio.AioRpcError:
    mesh = ToyMesh(mesh.toy, mesh.servicer, mesh.server, mesh.port, lambda _peer: channel)
    return await mesh.refusal(shape, mesh.toy.ToyRequest(), metadata=metadata)


@shapes
async def test_invalid_messages_are_refused_with_every_violation(
    mesh: ToyMesh, tokens: Any, shape: str
) -> None:
    bad = mesh.toy.ToyRequest(behaviour="x" * 33, items=[{"size": 1}, {"size": 11}])
    error = await mesh.refusal(shape, bad, metadata=tokens.metadata("toy.use"))
    status = rpc_status.from_call(error)
    assert status is not None
    details = error_details_pb2.BadRequest()
    assert any(detail.Unpack(details) for detail in status.details)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in details.field_violations] == ["behaviour", "items[1].size"]


@shapes
async def test_a_service_error_keeps_its_reason(mesh: ToyMesh, tokens: Any, shape: str) -> None:
    request = mesh.toy.ToyRequest(behaviour="overloaded")
    error = await mesh.refusal(shape, request, metadata=tokens.metadata("toy.use"))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(error) == "policy.parley/OVERLOADED"


@shapes
async def test_a_fault_leaves_masked_and_is_logged_in_full(mesh: ToyMesh, tokens: Any, shape: str) -> None:
    request = mesh.toy.ToyRequest(behaviour="fault")
    with structlog.testing.capture_logs() as lines:
        error = await mesh.refusal(shape, request, metadata=tokens.metadata("toy.use"))
    info = error_info(status_of(error))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error)
    assert info is not None
    assert any(
        line.get("request_id") == info.metadata["request_id"] and line["event"] == "internal error"
        for line in lines
    )


@shapes
async def test_each_call_is_logged_and_counted_with_the_status_it_left_with(
    mesh: ToyMesh, tokens: Any, shape: str
) -> None:
    method = f"/parley.toy.v1.ToyService/{shape}"
    labels = {"method": method, "code": "RESOURCE_EXHAUSTED", "tenant_class": "default"}
    before = REGISTRY.get_sample_value("parley_rpc_calls_total", labels) or 0
    request = mesh.toy.ToyRequest(behaviour="overloaded")
    with structlog.testing.capture_logs() as lines:
        await mesh.refusal(shape, request, metadata=tokens.metadata("toy.use"))
    line = next(line for line in lines if line.get("method") == method)
    assert (line["code"], line["peer"], line["user_id"]) == ("RESOURCE_EXHAUSTED", "edge", "user-1")
    assert "Bearer" not in json.dumps(line, default=str)
    assert REGISTRY.get_sample_value("parley_rpc_calls_total", labels) == before + 1


@pytest.mark.parametrize(
    ("claims", "tenant_class"),
    [({"tenant_id": GOLD_TENANT}, "gold"), ({"tenant_id": "another"}, "default"), (None, "none")],
)
async def test_calls_are_told_apart_by_the_class_of_their_tenant(
    mesh: ToyMesh, tokens: Any, claims: dict[str, str] | None, tenant_class: str
) -> None:
    def counted() -> float:
        labels = {"method": "/parley.toy.v1.ToyService/Unary", "tenant_class": tenant_class}
        codes = ("OK", "UNAUTHENTICATED")
        samples = (
            REGISTRY.get_sample_value("parley_rpc_calls_total", {**labels, "code": each}) for each in codes
        )
        return sum(sample or 0 for sample in samples)

    before = counted()
    if claims is None:
        await mesh.refusal("Unary", mesh.toy.ToyRequest())
    else:
        await mesh.call("Unary", mesh.toy.ToyRequest(), metadata=tokens.metadata("toy.use", **claims))
    assert counted() == before + 1


@shapes
async def test_a_client_that_leaves_cancels_the_servicer(mesh: ToyMesh, tokens: Any, shape: str) -> None:
    request = mesh.toy.ToyRequest(behaviour="wait")
    task = asyncio.create_task(mesh.call(shape, request, metadata=tokens.metadata("toy.use")))
    await asyncio.wait_for(mesh.servicer.waiting.wait(), 10)
    task.cancel()
    await asyncio.wait_for(mesh.servicer.cancelled.wait(), 10)
    assert mesh.servicer.cancelled.is_set()


async def test_a_unary_call_without_a_deadline_gets_the_services_own(
    toy: Any, settings: Any, tokens: Any, identity: Any
) -> None:
    server = RpcServer(settings.model_copy(update={"unary_deadline_seconds": 0.05}), tokens.verifier())
    server.add(toy.add_ToyServiceServicer_to_server, ToyServicer(toy))
    port = await server.start()
    channel = open_channel(
        f"127.0.0.1:{port}", tls=identity("edge"), service="toy", trust_domain="parley.local"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await toy.ToyServiceStub(channel).Unary(
            toy.ToyRequest(behaviour="wait"), metadata=tokens.metadata("toy.use")
        )
    await channel.close()
    await server.stop()
    assert reason(caught.value) == "policy.parley/DEADLINE_EXCEEDED"


async def test_an_anonymous_method_needs_no_token(mesh: ToyMesh) -> None:
    answers = await mesh.call("Anonymous", mesh.toy.ToyRequest(behaviour="hi"))
    assert answers[0].text.startswith("hi edge")


async def test_peers_come_from_the_option(mesh: ToyMesh, tokens: Any) -> None:
    request = mesh.toy.ToyRequest(behaviour="hi")
    answers = await mesh.call("Authenticated", request, peer="tools", metadata=tokens.metadata())
    refused = await mesh.refusal("Authenticated", request, peer="edge", metadata=tokens.metadata())
    assert answers[0].text.startswith("hi tools")
    assert reason(refused) == "policy.parley/PEER_NOT_ALLOWED"


async def test_an_unknown_method_is_a_typed_error(mesh: ToyMesh, tokens: Any) -> None:
    channel = mesh.connect("edge")
    call = channel.unary_unary("/parley.toy.v1.ToyService/Missing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", metadata=tokens.metadata("toy.use"))
    await channel.close()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason(caught.value) == "policy.parley/METHOD_UNKNOWN"


async def test_a_method_that_its_servicer_lacks_is_a_typed_error(mesh: ToyMesh) -> None:
    channel = mesh.connect("edge")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
    await channel.close()
    assert reason(caught.value).startswith("policy.parley/")


async def test_a_method_without_a_permission_does_not_start(toy: Any, settings: Any, tokens: Any) -> None:
    server = RpcServer(settings, tokens.verifier())
    server.add(toy.add_LawlessServiceServicer_to_server, object.__new__(toy.LawlessServiceServicer))
    with pytest.raises(PolicyMissing, match=r"parley\.toy\.v1\.LawlessService\.Unary"):
        await server.start()


async def test_a_port_in_use_is_one_clear_line(mesh: ToyMesh, settings: Any, tokens: Any) -> None:
    second = RpcServer(
        settings.model_copy(update={"listen_address": f"127.0.0.1:{mesh.port}"}), tokens.verifier()
    )
    with pytest.raises(OSError, match="is the port in use"):
        await second.start()


async def test_health_follows_what_the_owner_says_and_draining(mesh: ToyMesh) -> None:
    channel = mesh.connect("operator")
    stub = health_pb2_grpc.HealthStub(channel)

    async def status(service: str) -> int:
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status

    before = await status("parley.toy.v1.ToyService")
    await mesh.server.set_serving(True)
    serving = [await status(""), await status("parley.toy.v1.ToyService")]
    mesh.server.ask_to_stop()
    await mesh.server.set_serving(False)  # a servicer that recovers must not undo the drain
    await channel.close()
    assert before == health_pb2.HealthCheckResponse.NOT_SERVING
    assert serving == [health_pb2.HealthCheckResponse.SERVING] * 2


async def test_reflection_lists_the_services_to_callers_with_a_token(mesh: ToyMesh, tokens: Any) -> None:
    channel = mesh.connect("edge")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    call = stub.ServerReflectionInfo(iter([request]), metadata=tokens.metadata())
    answers = [answer async for answer in call]
    await channel.close()
    names = [service.name for service in answers[0].list_services_response.service]
    assert "parley.toy.v1.ToyService" in names


async def test_sigterm_drains_and_lets_running_calls_end(mesh: ToyMesh) -> None:
    serving = asyncio.create_task(mesh.server.serve_until_stopped())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 10)
    error = await mesh.refusal("Anonymous", mesh.toy.ToyRequest())
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_leaves_ends_by_itself_once_nothing_is_under_way(
    mesh: ToyMesh, tokens: Any
) -> None:
    ended_runs = asyncio.Event()

    async def idle() -> None:
        await ended_runs.wait()

    await mesh.server.set_serving(True)
    channel, health_channel = mesh.connect("edge"), mesh.connect("operator")
    stub = health_pb2_grpc.HealthStub(health_channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    stream = mesh.toy.ToyServiceStub(channel).ServerStream(
        mesh.toy.ToyRequest(behaviour="wait"), metadata=tokens.metadata("toy.use"), timeout=60
    )
    assert (await stream.read()).text == "first"
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    serving = asyncio.create_task(mesh.server.serve_until_stopped(idle))
    await asyncio.sleep(0)
    os.kill(os.getpid(), LEAVE_SIGNAL)

    async with asyncio.timeout(20):
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await mesh.call("Anonymous", mesh.toy.ToyRequest(behaviour="hi"))  # whoever still comes is served
        assert not serving.done()
        stream.cancel()
        await mesh.servicer.cancelled.wait()
        assert not serving.done()
        ended_runs.set()
        await serving
    await channel.close()
    await health_channel.close()
