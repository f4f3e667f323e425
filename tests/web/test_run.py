from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from parley_client.channel import open_channel
from parley_client.client import Client, question
from services.rpc.tls import TlsFiles
from tests.web.scripted_edge import PASSWORD, ScriptedEdge, serve
from tests.web.scripts import SCRIPTS
from web.answer import Answer, Pace
from web.edge import Edge
from web.run import Run

WAIT_SECONDS = 10


@pytest.fixture
async def scripted(identity: Callable[[str], TlsFiles]) -> AsyncIterator[tuple[ScriptedEdge, Client]]:
    """A scripted edge, and a client that is logged in there."""
    scripted = ScriptedEdge(scripts=dict(SCRIPTS))
    server, address = await serve(scripted, identity("edge"))
    edge = Edge(open_channel(address, authority=identity("edge").authority))
    yield scripted, (await edge.login("ada", PASSWORD)).client
    await edge.close()
    await server.stop(0)


def start(client: Client, text: str) -> Run[Answer]:
    return Run("c", Answer(Pace(0)), client.chat(question(text)), clock=lambda: 1.0)


async def test_the_last_picture_is_the_whole_answer(scripted: tuple[ScriptedEdge, Client]) -> None:
    run = start(scripted[1], "What is 17 * 23?")
    texts = [answer.text async for answer in run.pictures()]
    assert texts[-1] == r"17 \* 23 = **391**."
    assert not run.answer.running


async def test_stopping_cancels_the_call_and_keeps_what_was_said(
    scripted: tuple[ScriptedEdge, Client],
) -> None:
    edge, client = scripted
    run = start(client, "Tell me a story")
    async with asyncio.timeout(WAIT_SECONDS):
        async for answer in run.pictures():
            if answer.text:
                await run.stop()
        assert await edge.cancelled.get() == "Tell me a story"
    assert (run.answer.text, run.answer.stopped) == ("Once upon a time", True)
    await run.stop()


async def test_a_run_that_is_stopped_before_it_began_ends(scripted: tuple[ScriptedEdge, Client]) -> None:
    run = start(scripted[1], "Tell me a story")
    await run.stop()
    async with asyncio.timeout(WAIT_SECONDS):
        assert [answer.stopped async for answer in run.pictures()][-1]


async def test_a_refused_call_ends_with_its_typed_error(scripted: tuple[ScriptedEdge, Client]) -> None:
    edge, client = scripted
    edge.ended = True
    run = start(client, "What is 17 * 23?")
    async with asyncio.timeout(WAIT_SECONDS):
        assert [answer async for answer in run.pictures()]
    assert run.answer.error is not None
    assert run.answer.error.reason == "TOKEN_INVALID"


async def test_a_stream_without_an_end_is_told_as_broken(scripted: tuple[ScriptedEdge, Client]) -> None:
    edge, client = scripted

    async def cut(_: ScriptedEdge) -> AsyncIterator[dict[str, object]]:
        yield {}

    edge.scripts["Cut"] = cut
    run = start(client, "Cut")
    async with asyncio.timeout(WAIT_SECONDS):
        assert [answer async for answer in run.pictures()]
    assert run.answer.error is not None
    assert run.answer.error.code is grpc.StatusCode.INTERNAL


async def test_tokens_are_renewed_ahead_of_their_end(scripted: tuple[ScriptedEdge, Client]) -> None:
    edge, client = scripted
    edge.token_seconds = 1
    edge.refreshed = 0
    fresh = await client.login("ada", PASSWORD)
    assert fresh.access_token == "access-0"  # what the script says
    assert (await client.list_models()) == []
    assert edge.refreshed == 0
