"""A conversation keeps its replica; everything else goes where least is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from parley.inference.v1 import chat_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley_client.client import CONVERSATION_KEY, Client, user_message
from parley_client.credentials import ApiKey
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity, Mesh, edge_settings, start_mesh
from tests.edge.front import Front, eventually, front
from tests.edge.toys import GOOD_KEY, chat_request

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CONVERSATIONS = [f"conversation-{number}" for number in range(12)]
REPLICAS = ("demo", "large")


@pytest_asyncio.fixture(loop_scope="session")
async def pair(identity: Identity, tokens: TokenMaker) -> AsyncIterator[Mesh]:
    """A mesh whose two inference servers are replicas of one pool."""
    async with AsyncExitStack() as stack:
        yield await start_mesh(identity, tokens, stack)


@pytest_asyncio.fixture(loop_scope="session")
async def edge(pair: Mesh, identity: Identity, tmp_path: Path) -> AsyncIterator[Front]:
    pool = {"demo": [pair.addresses[name] for name in REPLICAS]}
    told = {**pair.upstreams(), "models": pool, "health_check_seconds": 0.2}
    settings = edge_settings(identity("edge"), tmp_path, listen_address=f"127.0.0.1:{free_port()}", **told)
    async with front(settings, tmp_path) as running:
        yield running


async def answered_by(
    channel: grpc.aio.Channel, tokens: TokenMaker, conversation: str = "", text: str = "Hi"
) -> str:
    """Which replica answers a question."""
    metadata = [*tokens.metadata("*"), *([(CONVERSATION_KEY, conversation)] if conversation else [])]
    call = InferenceServiceStub(channel).Chat(chat_request(text), metadata=tuple(metadata), timeout=30)
    started, *_ = [answer.event async for answer in call]
    return str(started.started.model)


async def homes(channel: grpc.aio.Channel, tokens: TokenMaker) -> dict[str, str]:
    """Where each conversation is answered, one after another."""
    return {name: await answered_by(channel, tokens, name) for name in CONVERSATIONS}


async def test_a_conversation_keeps_its_replica_and_all_replicas_have_some(
    edge: Front, tokens: TokenMaker
) -> None:
    async with edge.channel() as channel:
        first = await homes(channel, tokens)
        assert [await homes(channel, tokens) for _ in range(2)] == [first, first]
    assert set(first.values()) == set(REPLICAS)


async def test_a_lost_replicas_conversations_move_and_the_others_stay(
    edge: Front, pair: Mesh, tokens: TokenMaker
) -> None:
    async with edge.channel() as channel:
        before = await homes(channel, tokens)
        await pair.servers["large"].stop()
        after = await homes(channel, tokens)
    assert set(after.values()) == {"demo"}
    assert {name for name in CONVERSATIONS if before[name] == after[name]} == {
        name for name, home in before.items() if home == "demo"
    }


async def test_a_conversation_that_is_too_much_for_its_replica_spreads(
    edge: Front, pair: Mesh, tokens: TokenMaker
) -> None:
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        metadata = (*tokens.metadata("*"), (CONVERSATION_KEY, "popular"))
        calls, counted = [], Counter[str]()
        for _ in range(10):
            calls.append(stub.Chat(chat_request("wait"), metadata=metadata, timeout=60))
            # One after another, as each choice looks at what runs already.
            counted[(await calls[-1].read()).event.started.model] += 1
        for call in calls:
            call.cancel()
    assert set(counted) == set(REPLICAS)


async def test_without_a_conversation_calls_go_where_least_is_done(
    edge: Front, pair: Mesh, tokens: TokenMaker
) -> None:
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        busy = stub.Chat(chat_request("wait"), metadata=tokens.metadata("*"), timeout=60)
        taken = (await busy.read()).event.started.model
        others = Counter([await answered_by(channel, tokens) for _ in range(12)])
        busy.cancel()
    assert others[taken] < sum(others.values()) / 2


@pytest.mark.parametrize(
    ("conversation", "told"), [("conversation-1", "conversation-1"), ("Gespräch", None), ("", None)]
)
async def test_the_client_names_the_conversation_where_metadata_can(
    edge: Front, pair: Mesh, conversation: str, told: str | None
) -> None:
    async with edge.channel() as channel:
        client = Client(channel, ApiKey(GOOD_KEY))
        request = chat_pb2.ChatRequest(messages=[user_message("Hi")], conversation_id=conversation)
        async with client.chat(request) as stream:
            started, *_ = [event async for event in stream]
    assert pair.seen[started.started.model].header(CONVERSATION_KEY) == told


async def test_a_replica_that_comes_back_gets_its_conversations_again(
    edge: Front, pair: Mesh, tokens: TokenMaker
) -> None:
    async with edge.channel() as channel:
        before = await homes(channel, tokens)
        await pair.servers["large"].set_serving(False)

        async def moved() -> bool | None:
            return set((await homes(channel, tokens)).values()) == {"demo"} or None

        await eventually(moved)
        await pair.servers["large"].set_serving(True)

        async def returned() -> bool | None:
            return await homes(channel, tokens) == before or None

        await eventually(returned)
