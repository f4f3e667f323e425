"""Requests to other people's servers, bounded in every direction."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

import httpcore

from services.tools.addresses import AddressGuard
from services.tools.builtin.web.dialling import CheckedBackend
from services.tools.builtin.web.urls import Target
from services.tools.web_errors import (
    ContentUnreadable,
    HostTimeout,
    HostUnreachable,
    ResponseTooLarge,
    TooManyRedirects,
)

MAX_HEADER_BYTES = 32 * 2**10
MAX_HEADERS = 128
USER_AGENT = "parley-tools"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A redirect to another server takes along what tells nothing of the caller.
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_CONTENT = frozenset({"content-type"})

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Outgoing:
    """A request.

    Attributes:
        method: The HTTP method, in capitals.
        target: Where it goes.
        headers: What the caller sends; names in lower case.
        body: Its body.
    """

    method: str
    target: Target
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True)
class Incoming:
    """A response, read to its end.

    Attributes:
        target: Where it came from, after all redirects.
        status: The HTTP status code.
        headers: Its headers; names in lower case.
        body: Its body, decompressed.
    """

    target: Target
    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """A header's first value, or an empty text."""
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True)
class FetchLimits:
    """How far a request may go.

    Attributes:
        redirects: Redirects that are followed.
        connect_seconds: Time to connect, and again for TLS.
        read_seconds: Time between two pieces of the response, or of the request.
        body_bytes: Bytes of a response's body, as sent and after decompression.
    """

    redirects: int = 5
    connect_seconds: float = 5.0
    read_seconds: float = 15.0
    body_bytes: int = 2 * 2**20


class Fetcher:
    """Sends requests where its guard lets it."""

    def __init__(self, guard: AddressGuard, limits: FetchLimits, tls: ssl.SSLContext) -> None:
        """Send within these limits, trusting what `tls` trusts."""
        self._guard = guard
        self._limits = limits
        self._tls = tls

    async def fetch(self, request: Outgoing) -> Incoming:
        """Send a request, follow redirects, read the response.

        Every server on the way is resolved and checked anew. Nothing is kept
        afterwards: no connection, no cookie.

        Raises:
            ToolsError: One of `services.tools.web_errors`.
        """
        first = request.target.host
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=CheckedBackend(self._guard),
        ) as connections:
            for _ in range(self._limits.redirects + 1):
                response = await self._exchange(connections, request)
                if (onward := redirected(request, response)) is None:
                    return response
                request = onward
        raise TooManyRedirects(first, self._limits.redirects)

    async def _exchange(self, connections: httpcore.AsyncConnectionPool, request: Outgoing) -> Incoming:
        """One request and its response; the body of a redirect is not read."""
        target = request.target
        with told(target.host):
            async with connections.stream(
                request.method,
                httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
                headers=_sent_headers(request),
                content=request.body or None,
                extensions={"timeout": self._timeouts()},
            ) as response:
                headers = _read_headers(response.headers, target.host)
                found = Incoming(target, response.status, headers, b"")
                if response.status in _REDIRECTS and found.header("location"):
                    return found
                return replace(found, body=await self._body(response, found))

    def _timeouts(self) -> dict[str, float]:
        connect, read = self._limits.connect_seconds, self._limits.read_seconds
        return {"connect": connect, "pool": connect, "read": read, "write": read}

    async def _body(self, response: httpcore.Response, found: Incoming) -> bytes:
        body = _Body(found, self._limits.body_bytes)
        stream = response.stream
        assert isinstance(stream, AsyncIterable)  # noqa: S101 - the pool is asynchronous
        async with aclosing(aiter(stream)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                body.take(chunk)
        return body.content


class _Body:
    """Collects a body and refuses it as soon as it is too large."""

    def __init__(self, found: Incoming, limit: int) -> None:
        self._found = found
        self._limit = limit
        self._received = 0
        self._inflate = _decompressor(found)
        self._pieces = bytearray()

    def take(self, chunk: bytes) -> None:
        """Take a piece as it was sent."""
        self._received += len(chunk)
        if self._inflate is not None:
            chunk = self._inflated(chunk)
        self._pieces += chunk
        if max(self._received, len(self._pieces)) > self._limit:
            raise ResponseTooLarge(self._found.target.host, self._limit)

    def _inflated(self, chunk: bytes) -> bytes:
        """At most one byte more than there is room for, however much the piece would become."""
        assert self._inflate is not None  # noqa: S101
        try:
            return self._inflate.decompress(chunk, self._limit - len(self._pieces) + 1)
        except zlib.error:
            raise _unreadable(self._found, "it is not compressed as it says") from None

    @property
    def content(self) -> bytes:
        """All of it."""
        return bytes(self._pieces)


def _decompressor(found: Incoming) -> zlib._Decompress | None:
    match found.header("content-encoding").strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        case other:
            raise _unreadable(found, f"it is compressed by {other[:32]!r}, which was not asked for")


def _unreadable(found: Incoming, why: str) -> ContentUnreadable:
    return ContentUnreadable(found.target.host, found.header("content-type"), why)


def redirected(request: Outgoing, response: Incoming) -> Outgoing | None:
    """The request that a response asks for, as RFC 9110 (15.4) says; None if it asks for none.

    Raises:
        UrlInvalid: It leads nowhere that tools may go.
    """
    location = response.header("location")
    if response.status not in _REDIRECTS or not location:
        return None
    onward = replace(request, target=request.target.join(location))
    if response.status == 303 or (response.status in (301, 302) and request.method == "POST"):
        method = "HEAD" if request.method == "HEAD" else "GET"
        onward = replace(onward, method=method, body=b"", headers=_without(onward.headers, _CONTENT))
    if onward.target.origin != request.target.origin:
        onward = replace(onward, headers=_only(onward.headers, _HARMLESS))
    return onward


def _without(headers: Headers, names: frozenset[str]) -> Headers:
    return tuple(header for header in headers if header[0] not in names)


def _only(headers: Headers, names: frozenset[str]) -> Headers:
    return tuple(header for header in headers if header[0] in names)


def _sent_headers(request: Outgoing) -> list[tuple[bytes, bytes]]:
    """The caller's headers and those that are ours to set."""
    ours = {"host": request.target.authority, "accept-encoding": "gzip", "connection": "close"}
    defaults = {"user-agent": USER_AGENT, "accept": "*/*"}
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        ours["content-length"] = str(len(request.body))
    sent = {**defaults, **dict(request.headers), **ours}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in sent.items()]


def _read_headers(headers: list[tuple[bytes, bytes]], host: str) -> Headers:
    size = sum(len(name) + len(value) for name, value in headers)
    if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
        raise ResponseTooLarge(host, MAX_HEADER_BYTES)
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)


@contextmanager
def told(host: str) -> Iterator[None]:
    """Say what httpcore's errors mean.

    Raises:
        ToolsError: One of `services.tools.web_errors`.
    """
    try:
        yield
    except httpcore.ConnectTimeout:
        raise HostTimeout(host, "connect") from None
    except httpcore.WriteTimeout:
        raise HostTimeout(host, "send") from None
    except httpcore.TimeoutException:
        raise HostTimeout(host, "read") from None
    except httpcore.ConnectError as error:
        raise HostUnreachable(host, _why(error)) from None
    except httpcore.NetworkError:
        raise HostUnreachable(host, "the connection broke") from None
    except httpcore.ProtocolError:
        raise HostUnreachable(host, "it does not keep to HTTP") from None


def _why(error: httpcore.ConnectError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted"
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS as it must"
        cause = cause.__cause__ or cause.__context__
    return "it does not take the connection"
