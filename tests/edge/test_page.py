"""The web page behind the edge: HTTP/1.1, server-sent events, websockets."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from tests.edge.answers import refusal
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, eventually, front
from web.server import tls_context

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


class ToyPage:
    """Answers as the page's server does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.go_on = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.heads.append(head)
        if "upgrade: websocket" in head:
            await self._echo(reader, writer)
        elif head.startswith("get /events"):
            await self._events(writer)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello")
        writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        writer.write(await reader.readexactly(4))
        await writer.drain()

    async def _events(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(b"data: one\n\n")
        await writer.drain()
        await self.go_on.wait()
        writer.write(b"data: two\n\n")
        await writer.drain()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def toy_page(identity: Identity) -> AsyncIterator[tuple[ToyPage, str]]:
    page = ToyPage()
    server = await asyncio.start_server(page.serve, "127.0.0.1", 0, ssl=tls_context(identity("web")))
    async with server:
        yield page, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def paged_edge(
    mesh: Mesh, identity: Identity, toy_page: tuple[ToyPage, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    folder = tmp_path_factory.mktemp("page")
    told = {"listen_address": f"127.0.0.1:{free_port()}", "web_address": toy_page[1], **mesh.upstreams()}
    settings = edge_settings(identity("edge"), folder, **told)
    async with front(settings, folder) as running:
        yield running


async def test_the_page_needs_no_token_and_gets_no_forged_header(
    paged_edge: Front, toy_page: tuple[ToyPage, str]
) -> None:
    async with paged_edge.http() as client:
        answer = await client.get("/", headers={"x-parley-user-id": "forged", "x-api-key": "parley_secret"})
    assert (answer.status_code, answer.text) == (200, "hello")
    head = toy_page[0].heads[-1]
    assert "forged" not in head
    assert "parley_secret" not in head
    assert "x-parley-client-address: 127.0.0.1" in head


async def test_a_websocket_passes(paged_edge: Front) -> None:
    origin = f"https://{paged_edge.address}"
    reader, writer = await asyncio.open_connection(*paged_edge.address.split(":"), ssl=paged_edge.tls())
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /socket HTTP/1.1\r\nhost: {paged_edge.address}\r\norigin: {origin}\r\nconnection: Upgrade\r\n"
        f"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    )
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.write(b"ping")
    echoed = await asyncio.wait_for(reader.readexactly(4), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 101")
    assert echoed == b"ping"


async def test_a_foreign_page_opens_no_websocket(paged_edge: Front) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "origin": "https://evil.example"}
    async with paged_edge.http() as client:
        answer = await client.get("/socket", headers=upgrade)
    assert (answer.status_code, refusal(answer).code) == (403, 7)


async def test_events_come_as_they_happen(paged_edge: Front, toy_page: tuple[ToyPage, str]) -> None:
    async with paged_edge.http() as client, client.stream("GET", "/events") as answer:
        lines = answer.aiter_lines()
        first = await asyncio.wait_for(anext(lines), 10)
        toy_page[0].go_on.set()
        rest = [line async for line in lines]
    assert first == "data: one"
    assert "data: two" in rest


async def test_a_page_that_is_down_is_told_as_json(
    mesh: Mesh, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("down")
    told = {
        "listen_address": f"127.0.0.1:{free_port()}",
        "web_address": f"127.0.0.1:{free_port()}",
        **mesh.upstreams(),
    }
    settings = edge_settings(identity("edge"), folder, **told)
    async with front(settings, folder) as edge, edge.http() as client:
        answer = await client.get("/")
        assert (answer.status_code, refusal(answer).code) == (503, 14)
        entry = await edge.logged(answer.headers["x-request-id"])
    assert entry["cluster"] == "web"


async def test_the_log_is_one_object_a_line(paged_edge: Front) -> None:
    async with paged_edge.http() as client:
        answer = await client.get("/", headers={"user-agent": 'a "quoted"\\ agent'})

    async def entry() -> dict[str, object] | None:
        return await paged_edge.logged(answer.headers["x-request-id"])

    assert (await eventually(entry))["user_agent"] == 'a "quoted"\\ agent'
