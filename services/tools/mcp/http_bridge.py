"""One HTTP request served by an ASGI application in this process, without a listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.types import ASGIApp, Message

_QUEUED_PIECES = 4

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """A request that came whole.

    Attributes:
        path: Its path, without query.
        headers: Its headers; names in lower case.
        body: Its body.
    """

    path: str
    headers: Headers
    body: bytes

    def scope(self) -> dict[str, Any]:
        """The request as ASGI describes it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": self.path,
            "raw_path": self.path.encode("ascii"),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in self.headers],
            "client": None,
            "server": None,
        }


@dataclass(frozen=True)
class Head:
    """How an answer begins.

    Attributes:
        status: The HTTP status.
        headers: Its headers; names in lower case.
    """

    status: int
    headers: Headers = ()

    def header(self, name: str) -> str:
        """A header's first value, or an empty text."""
        return next((value for key, value in self.headers if key == name), "")


async def answered(app: ASGIApp, request: Request) -> AsyncGenerator[Head | bytes, None]:
    """The application's answer, piece by piece: its head first.

    The application waits while nobody reads. Closing this ends it, and returns
    when it is gone.

    Raises:
        Exception: What the application raises.
    """
    pieces, taken = anyio.create_memory_object_stream[Head | bytes](_QUEUED_PIECES)
    unread = [request.body]

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        # The client leaves: its call is cancelled, and the application with it.
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            await pieces.send(Head(message["status"], _read(message.get("headers", ()))))
        elif body := bytes(message.get("body", b"")):
            await pieces.send(body)

    async def run() -> None:
        async with pieces:
            await app(request.scope(), receive, send)

    running = asyncio.create_task(run())
    try:
        async with taken:
            async for piece in taken:
                yield piece
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _read(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
