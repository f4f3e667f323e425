"""What callers outside read of their limits, in each protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.local.preflight import free_port
from parley.auth.v1.session_service_pb2 import LoginRequest
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tests.conftest import TokenMaker
from tests.edge.answers import refusal, refused
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, front
from tests.edge.test_calls import question
from tests.edge.toys import chat_request, everything

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

OVER = {
    "retry-after": "90",
    "x-ratelimit-limit": "1000",
    "x-ratelimit-remaining": "3",
    "x-ratelimit-reset": "90",
}
WITHIN = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "7", "x-ratelimit-reset": "30"}


def shown(headers: Any, wanted: dict[str, str]) -> dict[str, str]:
    """Those of the headers that are wanted."""
    return {name: value for name, value in dict(headers).items() if name in wanted}


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_json_callers_read_their_limits_in_headers(
    edge: Front, tokens: TokenMaker, accept: str
) -> None:
    headers = {**dict(tokens.metadata("*")), "accept": accept}
    async with edge.http() as client:
        within = await client.post("/api/v1/chat", json=question("within quota"), headers=headers)
        over = await client.post("/api/v1/chat", json=question("over quota"), headers=headers)
    assert (within.status_code, shown(within.headers, WITHIN)) == (200, WITHIN)
    assert (over.status_code, refusal(over).reason) == (429, "BUDGET_EXHAUSTED")
    kinds = {detail["@type"].rpartition(".")[2] for detail in over.json()["details"]}
    assert kinds == {"ErrorInfo", "QuotaFailure", "RetryInfo"}
    assert shown(over.headers, OVER) == OVER


async def test_grpc_callers_read_them_in_metadata(edge: Front, tokens: TokenMaker) -> None:
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        within = stub.Chat(chat_request("within quota"), metadata=tokens.metadata("*"), timeout=10)
        assert shown(await within.initial_metadata(), WITHIN) == WITHIN
        await everything(within)
        over = stub.Chat(chat_request("over quota"), metadata=tokens.metadata("*"), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await everything(over)
    told = {**dict(caught.value.initial_metadata() or ()), **dict(caught.value.trailing_metadata() or ())}
    assert shown(told, OVER) == OVER


async def test_an_address_that_floods_calls_without_a_token_is_turned_away(
    mesh: Mesh, identity: Identity, tokens: TokenMaker, tmp_path: Path
) -> None:
    files = identity("edge")
    settings = edge_settings(
        files,
        tmp_path,
        listen_address=f"127.0.0.1:{free_port()}",
        trusted_hops=1,
        anonymous_burst=3,
        anonymous_calls_per_second=1,
        **mesh.upstreams(),
    )

    def of(address: str) -> dict[str, str]:
        return {"x-forwarded-for": address}

    login = {"username": "ada", "password": "a password"}
    async with front(settings, tmp_path) as edge, edge.http() as client, edge.channel() as channel:
        flood = [
            await client.post("/api/v1/sessions:login", json=login, headers=of("192.0.2.1")) for _ in range(6)
        ]
        other = await client.post("/api/v1/sessions:login", json=login, headers=of("192.0.2.2"))
        call = SessionServiceStub(channel).Login(
            LoginRequest(**login), metadata=tuple(of("192.0.2.1").items()), timeout=10
        )
        by_grpc = await refused(call)
        known = {**dict(tokens.metadata("*")), **of("192.0.2.1")}
        asked = [await client.get("/api/v1/me", headers=known) for _ in range(6)]
    assert flood[0].status_code == 200
    assert (flood[-1].status_code, refusal(flood[-1]).reason) == (429, "OVERLOADED")
    assert flood[-1].headers["retry-after"] == "1"
    assert by_grpc.reason == "OVERLOADED"
    assert other.status_code == 200, "another address has a bucket of its own"
    assert {answer.status_code for answer in asked} == {200}, "who has a token is not held to it"
