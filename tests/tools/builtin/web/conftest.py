"""A web server that says exactly what a test wants said."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from services.tools.addresses import AddressGuard
from services.tools.builtin.web.fetching import Fetcher, FetchLimits
from services.tools.catalogue import Arguments, LoopCall, Tool, ToolResult, WorkerCall
from services.tools.workspace import Owner, Workspaces
from tests.conftest import TokenMaker

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass(frozen=True)
class Heard:
    """A request that the server got."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Site:
    """A server on loopback, and what it was asked."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    together: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(1))

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:] if line
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.heard.append(Heard(method, target, headers, body))
        self.asked.set()
        await self.together.wait()
        answer = self.answers.get(target.partition("?")[0], response(status="404 Not Found"))
        writer.write(answer)
        if answer.endswith(HANG):
            await self.hanging.wait()
        writer.close()


HANG = b"<and then nothing>"


def response(
    body: bytes = b"", content_type: str = "text/plain", status: str = "200 OK", **headers: str
) -> bytes:
    """A response with a body and its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return response(status=status, location=location)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        site.hanging.set()
        server.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running


@pytest.fixture
async def other_site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running


async def nowhere(_host: str) -> list[str]:
    """A resolver that knows nobody."""
    raise OSError


def resolving(**hosts: list[str]) -> Callable[[str], Awaitable[list[str]]]:
    """A resolver that knows these names (`_` stands for a dot) and answers the same every time."""

    async def resolve(host: str) -> list[str]:
        return hosts[host.replace(".", "_")]

    return resolve


def fetcher_of(
    resolve: Callable[[str], Awaitable[list[str]]] = nowhere,
    opened: tuple[object, ...] = LOOPBACK,
    tls: ssl.SSLContext | None = None,
    **limits: float,
) -> Fetcher:
    """A fetcher that may dial every port, and loopback."""
    guard = AddressGuard(resolve, None, opened)  # type: ignore[arg-type]
    return Fetcher(guard, FetchLimits(**limits), tls or ssl.create_default_context())  # type: ignore[arg-type]


@pytest.fixture
def loop_call(tokens: TokenMaker, workspaces: Workspaces) -> LoopCall:
    """A call that computes its parts here instead of in a worker."""

    async def report(_what: object) -> None:
        pass

    async def compute(part: Tool, arguments: Arguments) -> ToolResult:
        context = WorkerCall(Owner("t", "u"), workspaces, lambda _what: None)
        return part.result.model_validate(part.run(arguments, context))

    return LoopCall(tokens.principal("tools.*"), report, compute)
