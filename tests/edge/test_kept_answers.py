"""What auth gave for a key is used again for a moment, and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
import pytest_asyncio

from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from tests.edge.answers import refusal, refused
from tests.edge.conftest import Mesh
from tests.edge.front import Front, eventually, until_healthy
from tests.edge.toys import ToyKey, ToyKeyExchange

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ADA, BOB = "parley_ada", "parley_bob"
LONG = 0.9


@pytest_asyncio.fixture(loop_scope="session")
async def exchange(mesh: Mesh, edge: Front) -> AsyncIterator[ToyKeyExchange]:
    """The key exchange, with two more keys for the test's time."""
    await until_healthy(edge)
    before = dict(mesh.exchange.keys)
    mesh.exchange.keys |= {
        ADA: ToyKey("ada", "key-ada", LONG, addresses=("127.0.0.1",)),
        BOB: ToyKey("bob", "key-bob", LONG),
    }
    yield mesh.exchange
    mesh.exchange.keys = before


async def who(channel: grpc.aio.Channel, key: str) -> str:
    """Whose the key is."""
    request, metadata = session_service_pb2.WhoAmIRequest(), (("x-api-key", key),)
    return (await SessionServiceStub(channel).WhoAmI(request, metadata=metadata, timeout=10)).username


async def until_unasked(channel: grpc.aio.Channel, exchange: ToyKeyExchange, key: str) -> str:
    """The answer to the first call for which auth was not asked."""

    async def unasked() -> str | None:
        before = exchange.seen.calls
        name = await who(channel, key)
        return name if exchange.seen.calls == before else None

    return await eventually(unasked)


async def test_an_answer_is_used_again_until_its_time_is_over(edge: Front, exchange: ToyKeyExchange) -> None:
    async with edge.channel() as channel:
        assert await until_unasked(channel, exchange, BOB) == "bob"
        exchange.keys.pop(BOB)
        before = exchange.seen.calls

        async def ended() -> grpc.aio.AioRpcError | None:
            try:
                await who(channel, BOB)
            except grpc.aio.AioRpcError as error:
                return error
            return None

        error = await eventually(ended)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert exchange.seen.calls == before + 1


@pytest.mark.parametrize("seconds", [0, 3600], ids=["none", "an hour"])
async def test_an_answer_without_time_or_with_too_much_is_not_used_again(
    edge: Front, exchange: ToyKeyExchange, seconds: float
) -> None:
    exchange.keys[BOB] = ToyKey("bob", "key-bob", seconds)
    async with edge.channel() as channel:
        before = exchange.seen.calls
        for _ in range(3):
            assert await who(channel, BOB) == "bob"
    assert exchange.seen.calls == before + 3


async def test_an_answer_for_one_address_is_none_for_another(edge: Front, exchange: ToyKeyExchange) -> None:
    elsewhere = httpx.AsyncHTTPTransport(verify=edge.tls(), local_address="127.0.0.2")
    async with edge.channel() as channel, httpx.AsyncClient(transport=elsewhere, base_url=edge.url) as client:
        assert await until_unasked(channel, exchange, ADA) == "ada"
        answer = await client.get("/api/v1/me", headers={"x-api-key": ADA})
    assert (answer.status_code, refusal(answer).reason) == (403, "KEY_ADDRESS_NOT_ALLOWED")


async def test_keys_side_by_side_are_not_taken_for_each_other(edge: Front, exchange: ToyKeyExchange) -> None:
    async with edge.channel() as channel:
        for _ in range(30):
            names = await asyncio.gather(*(who(channel, key) for key in (ADA, BOB, BOB, ADA)))
            assert names == ["ada", "bob", "bob", "ada"]


async def test_a_wrong_key_is_asked_about_each_time(edge: Front, exchange: ToyKeyExchange) -> None:
    async with edge.channel() as channel:
        before = exchange.seen.calls
        for _ in range(3):
            assert (await refused(who(channel, "parley_wrong"))).reason == "KEY_INVALID"
    assert exchange.seen.calls == before + 3


async def test_the_service_sees_the_token_and_no_key(
    edge: Front, mesh: Mesh, exchange: ToyKeyExchange
) -> None:
    async with edge.channel() as channel:
        await until_unasked(channel, exchange, BOB)
    seen = mesh.seen["auth"]
    assert str(seen.header("authorization")).startswith("Bearer ey")
    assert BOB not in str(seen.metadata)
    assert BOB not in edge.log
