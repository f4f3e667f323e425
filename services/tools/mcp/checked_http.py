"""The SDK's HTTP client over checked addresses, with bounds on what comes back."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator

import httpcore
import httpx2

from services.tools.addresses import AddressGuard
from services.tools.builtin.web.dialling import CheckedBackend
from services.tools.builtin.web.fetching import told
from services.tools.mcp.program import MAX_MESSAGE_BYTES
from services.tools.web_errors import ContentUnreadable, ResponseTooLarge

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 3600.0
"""How long a stream of events may be silent: each call has its own time limit."""

_EVENTS = "text/event-stream"
_MAX_CONNECTIONS = 64


def checked_client(guard: AddressGuard, tls: ssl.SSLContext, headers: dict[str, str]) -> httpx2.AsyncClient:
    """A client that dials only where the guard lets it, and sends these headers with every request."""
    timeout = httpx2.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS)
    # What is compressed has no bounds that could be told before it is inflated.
    every = {**headers, "accept-encoding": "identity", "user-agent": "parley-tools"}
    transport = _CheckedTransport(guard, tls)
    return httpx2.AsyncClient(transport=transport, headers=every, timeout=timeout, trust_env=False)


class _CheckedTransport(httpx2.AsyncBaseTransport):
    """Requests over httpcore, whose connections go through the guard."""

    def __init__(self, guard: AddressGuard, tls: ssl.SSLContext) -> None:
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=_MAX_CONNECTIONS,
            network_backend=CheckedBackend(guard),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See the base.

        Raises:
            ToolsError: One of `services.tools.web_errors`.
        """
        url, host = request.url, request.url.host
        asked = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=_body(request),
            extensions=request.extensions,
        )
        with told(host):
            answer = await self._connections.handle_async_request(asked)
        headers = httpx2.Headers(answer.headers)
        kind = headers.get("content-type", "").lower()
        if headers.get("content-encoding", "identity") != "identity":
            await answer.aclose()
            raise ContentUnreadable(host, kind, "it is compressed, which was not asked for")
        body = _BoundedStream(answer, host, events=kind.startswith(_EVENTS))
        return httpx2.Response(answer.status, headers=headers, stream=body)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()


def _body(request: httpx2.Request) -> AsyncIterable[bytes]:
    assert isinstance(request.stream, AsyncIterable)  # noqa: S101 - the client is asynchronous
    return request.stream


class _BoundedStream(httpx2.AsyncByteStream):
    """A response's body; of a stream of events the SDK bounds each event."""

    def __init__(self, answer: httpcore.Response, host: str, *, events: bool) -> None:
        self._answer = answer
        self._host = host
        self._left = None if events else MAX_MESSAGE_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._answer.stream
        assert isinstance(stream, AsyncIterable)  # noqa: S101 - the pool is asynchronous
        with told(self._host):
            async for piece in stream:
                if self._left is not None:
                    self._left -= len(piece)
                    if self._left < 0:
                        raise ResponseTooLarge(self._host, MAX_MESSAGE_BYTES)
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()
