"""Calls through the edge, as gRPC and as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.inference.v1 import converse_pb2, inference_service_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1 import tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from tests.conftest import TokenMaker
from tests.edge.answers import refusal, refused
from tests.edge.conftest import Mesh
from tests.edge.front import Front
from tests.edge.toys import chat_request, everything

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def question(text: str) -> dict[str, Any]:
    """A question of one message as JSON."""
    return {"messages": [{"role": "ROLE_USER", "content": [{"text": text}]}]}


async def test_a_stream_as_grpc(edge: Front, tokens: TokenMaker) -> None:
    async with edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(
            chat_request("a b"), metadata=tokens.metadata("*"), timeout=10
        )
        answers = await everything(call)
    assert [answer.event.content_delta.text for answer in answers[1:-1]] == ["a", "b"]


async def test_both_directions_stream_at_once(edge: Front, tokens: TokenMaker) -> None:
    async def calls() -> AsyncIterator[tool_service_pb2.ExecuteManyRequest]:
        for number in range(3):
            yield tool_service_pb2.ExecuteManyRequest(call={"call_id": f"c{number}", "tool": "echo"})
            await answered.acquire()

    answered = asyncio.Semaphore(0)
    seen = []
    async with edge.channel() as channel:
        stub = ToolServiceStub(channel)
        async for answer in stub.ExecuteMany(calls(), metadata=tokens.metadata("*"), timeout=10):
            seen.append(answer.event.call_id)
            answered.release()
    assert seen == ["c0", "c1", "c2"]


async def test_a_call_as_json(edge: Front, tokens: TokenMaker) -> None:
    async with edge.http() as client:
        answer = await client.get("/api/v1/me", headers=dict(tokens.metadata("*")))
    assert (answer.status_code, answer.json()) == (200, {"username": "ada"})


async def test_a_path_variable_and_a_typed_error_as_json(edge: Front, tokens: TokenMaker) -> None:
    async with edge.http() as client:
        answer = await client.post(f"/api/v1/runs/{RUN}:cancel", json={}, headers=dict(tokens.metadata("*")))
    assert answer.status_code == 400
    told = refusal(answer)
    assert (told.code, told.reason, told.message) == (3, "INVALID_REQUEST", f"run {RUN} at peer edge")


async def test_field_violations_come_along_as_json(edge: Front, tokens: TokenMaker) -> None:
    async with edge.http() as client:
        answer = await client.get("/api/v1/models?page_size=5000", headers=dict(tokens.metadata("*")))
    assert answer.status_code == 400
    violations = [detail.get("fieldViolations") for detail in answer.json()["details"]]
    assert violations[-1] == [{"field": "page_size", "description": "must be less than or equal to 1000"}]


async def test_a_stream_as_lines_of_json(edge: Front, tokens: TokenMaker) -> None:
    async with edge.http() as client:
        answer = await client.post("/api/v1/chat", json=question("a b"), headers=dict(tokens.metadata("*")))
    events = [json.loads(line)["event"] for line in answer.text.splitlines()]
    assert [event["contentDelta"]["text"] for event in events[1:-1]] == ["a", "b"]
    assert events[-1]["finished"] == {"reason": "FINISH_REASON_STOP"}


async def test_a_stream_as_server_sent_events(edge: Front, tokens: TokenMaker) -> None:
    headers = {**dict(tokens.metadata("*")), "accept": "text/event-stream"}
    async with edge.http() as client:
        answer = await client.post("/api/v1/chat", json=question("a b"), headers=headers)
    assert answer.headers["content-type"] == "text/event-stream"
    frames = answer.text.strip().split("\n\n")
    events = [json.loads(frame.removeprefix("data: "))["event"] for frame in frames]
    assert [event["contentDelta"]["text"] for event in events[1:-1]] == ["a", "b"]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_stream_that_fails_at_once_is_an_error_of_http(
    edge: Front, tokens: TokenMaker, accept: str
) -> None:
    headers = {**dict(tokens.metadata("*")), "accept": accept}
    async with edge.http() as client:
        answer = await client.post("/api/v1/chat", json=question("overloaded"), headers=headers)
    assert (answer.status_code, refusal(answer).reason) == (429, "OVERLOADED")


async def test_a_json_stream_that_breaks_off_says_why_in_its_trailers(
    edge: Front, tokens: TokenMaker
) -> None:
    body = json.dumps(question("overloaded later")).encode()
    token = dict(tokens.metadata("*"))["authorization"]
    reader, writer = await asyncio.open_connection(*edge.address.split(":"), ssl=edge.tls())
    head = (
        "POST /api/v1/chat HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"authorization: {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    trailers = answer.partition("\r\n0\r\n")[2]
    assert "grpc-status: 8\r\n" in trailers
    assert "grpc-message: Too much at once.\r\n" in trailers


async def test_a_model_is_reached_in_its_pool(edge: Front, tokens: TokenMaker) -> None:
    asked = {"": "demo", "demo": "demo", "org/Large-2": "large", "unknown": "demo"}
    # Adapters are in the pool of their base model.
    asked |= {
        "org/Large-2:polite": "large",
        "org/Large-2x": "demo",
        "org/Large-2:": "demo",
        "demo:polite": "demo",
    }
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        for model, expected in asked.items():
            metadata = (*tokens.metadata("*"), *((("parley-model", model),) if model else ()))
            listed = await stub.ListModels(
                inference_service_pb2.ListModelsRequest(), metadata=metadata, timeout=10
            )
            assert listed.models[0].name == expected, model
            conversation = stub.Converse(metadata=metadata, timeout=10)
            await conversation.write(converse_pb2.ConverseRequest(setup={"model": model}))
            assert (await conversation.read()).event.started.model == expected, model
            conversation.cancel()


async def test_a_model_is_reached_in_its_pool_as_json(edge: Front, tokens: TokenMaker) -> None:
    headers = {**dict(tokens.metadata("*")), "parley-model": "org/Large-2"}
    async with edge.http() as client:
        answer = await client.get("/api/v1/models", headers=headers)
    assert answer.json()["models"] == [{"name": "large"}]


async def test_the_request_id_is_made_here_passed_on_and_returned(
    edge: Front, mesh: Mesh, tokens: TokenMaker
) -> None:
    headers = {**dict(tokens.metadata("*")), "x-request-id": "mine-12345678"}
    async with edge.http() as client:
        answers = [await client.get("/api/v1/me", headers=headers), await client.get("/api/v1/none")]
    assert mesh.seen["auth"].header("x-request-id") == answers[0].headers["x-request-id"]
    assert all(len(answer.headers["x-request-id"]) == 36 for answer in answers)


async def test_health_is_open_and_reflection_is_not(edge: Front, tokens: TokenMaker) -> None:
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    async with edge.channel() as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        listed = await reflection.ServerReflectionInfo(
            iter([listing]), metadata=tokens.metadata(), timeout=10
        ).read()
        # Nothing is written: grpc.aio can lose a refusal that comes while it writes.
        told = await refused(reflection.ServerReflectionInfo(timeout=10).read())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    names = [service.name for service in listed.list_services_response.service]
    assert "parley.auth.v1.SessionService" in names
    assert told.reason == "TOKEN_MISSING"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_is_answered_without_a_token(path: str, edge: Front) -> None:
    async with edge.http() as client:
        answer = await client.get(path)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/parley.auth.v1.SessionService/None", "/none.Service/None"])
async def test_an_unknown_method_is_unimplemented(edge: Front, path: str) -> None:
    async with edge.channel() as channel:
        told = await refused(channel.unary_unary(path)(b"", timeout=10))
    assert (told.code, told.reason) == (grpc.StatusCode.UNIMPLEMENTED.value[0], "METHOD_UNKNOWN")


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/api/v1/none"),
        ("GET", "/api/v1/chat"),
        ("GET", "/none"),
        ("POST", "/parley.auth.v1.SessionService/WhoAmI"),
        ("GET", "/.well-known/none"),
    ],
)
async def test_an_unknown_path_is_told_as_json(edge: Front, verb: str, path: str) -> None:
    async with edge.http() as client:
        answer = await client.request(verb, path)
    assert (answer.status_code, refusal(answer).reason) == (404, "METHOD_UNKNOWN")


async def test_logging_in_needs_no_token(edge: Front) -> None:
    async with edge.http() as client:
        answer = await client.post("/api/v1/sessions:login", json={"username": "ada", "password": "secret"})
    assert answer.json()["tokens"]["accessToken"].count(".") == 2


async def test_the_signing_keys_need_no_token(edge: Front) -> None:
    async with edge.http() as client:
        answer = await client.get("/.well-known/jwks.json")
    assert answer.json()["keys"][0]["alg"] == "ES256"


async def test_a_client_that_goes_cancels_its_grpc_stream(
    edge: Front, mesh: Mesh, tokens: TokenMaker
) -> None:
    seen = mesh.seen["demo"]
    async with edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(
            chat_request("wait"), metadata=tokens.metadata("*"), timeout=20
        )
        await call.read()
        await asyncio.wait_for(seen.waiting.wait(), 10)
        call.cancel()
        await asyncio.wait_for(seen.cancelled.wait(), 10)
    assert seen.cancelled.is_set()


async def test_a_client_that_goes_cancels_its_json_stream(
    edge: Front, mesh: Mesh, tokens: TokenMaker
) -> None:
    seen = mesh.seen["demo"]
    headers = dict(tokens.metadata("*"))
    async with (
        edge.http() as client,
        client.stream("POST", "/api/v1/chat", json=question("wait"), headers=headers),
    ):
        await asyncio.wait_for(seen.waiting.wait(), 10)
    await asyncio.wait_for(seen.cancelled.wait(), 10)
    assert seen.cancelled.is_set()


async def test_a_deadline_reaches_the_service(edge: Front, mesh: Mesh, tokens: TokenMaker) -> None:
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        call = stub.Chat(chat_request("wait"), metadata=tokens.metadata("*"), timeout=0.5)
        told = await refused(everything(call))
    await asyncio.wait_for(mesh.seen["demo"].cancelled.wait(), 10)
    assert told.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_who_calls_is_seen_by_the_service(edge: Front, mesh: Mesh, tokens: TokenMaker) -> None:
    async with edge.channel() as channel:
        stub = SessionServiceStub(channel)
        who = await stub.WhoAmI(
            session_service_pb2.WhoAmIRequest(), metadata=tokens.metadata("*"), timeout=10
        )
    assert who.username == "ada"
    assert mesh.seen["auth"].header("x-parley-client-address") == "127.0.0.1"
