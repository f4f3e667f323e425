"""The page's HTTP server: plain on loopback, or mutual TLS for the edge alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.rpc.tls import TlsFiles
from web.settings import WebSettings

EDGE = "edge"
"""The only name of the mesh that may open a connection."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the edge keeps an unused connection, so that it never writes into one that closes."""

BACKLOG = 1024
"""Connections that wait to be taken in."""

_log = structlog.get_logger()


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Demand a certificate of the mesh from whoever connects.

    Raises:
        OSError: A file cannot be read, or is no certificate or key.
    """
    seen, fresh = files.version(), _context_now(files)

    def follow(
        connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """Show a replaced certificate to connections that begin now; a broken one changes nothing."""
        nonlocal seen, fresh
        with contextlib.suppress(OSError):
            version = files.version()
            if version != seen:
                seen, fresh = version, _context_now(files)
        connection.context = fresh

    first = fresh
    first.sni_callback = follow
    return first


def _context_now(files: TlsFiles) -> ssl.SSLContext:
    """A context of the files as they are now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.certificate, files.private_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def is_edge(certificate: dict[str, Any] | None, trust_domain: str) -> bool:
    """Whether a verified peer certificate names the edge, by exactly one SPIFFE id."""
    names = (certificate or {}).get("subjectAltName", ())
    ids = [value for kind, value in names if kind == "URI" and value.startswith("spiffe://")]
    return ids == [f"spiffe://{trust_domain}/{EDGE}"]


def edge_only(trust_domain: str) -> type[H11Protocol]:
    """A protocol that hangs up on every neighbour but the edge."""

    class EdgeOnlyProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if is_edge(transport.get_extra_info("peercert"), trust_domain):
                super().connection_made(transport)
            else:
                self.transport = transport
                transport.abort()

    return EdgeOnlyProtocol


class PageServer(uvicorn.Server):
    """Serves the application until the process is told to stop."""

    def __init__(self, app: FastAPI, settings: WebSettings) -> None:
        """Make a server.

        Args:
            app: What to serve.
            settings: Where and how.

        Raises:
            OSError: The address cannot be bound, or a file of the identity cannot be read.
        """
        self._settings = settings
        tls = settings.tls
        context = None if tls is None else tls_context(tls)
        super().__init__(
            uvicorn.Config(
                app,
                http=H11Protocol if tls is None else edge_only(settings.trust_domain),
                ws="none",
                ssl_context_factory=None if context is None else lambda *_: context,
                # Where anyone but the edge could connect, only loopback's word counts.
                forwarded_allow_ips="127.0.0.1" if tls is None else "*",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.grace_seconds,
                server_header=False,
                access_log=False,
                log_config=None,
                log_level="warning",
            )
        )
        self._socket = _bind(settings.listen_address)

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self._socket.getsockname()[1])

    async def serve_until_stopped(self) -> None:
        """Serve until SIGTERM or SIGINT; open requests have the grace to end.

        The signals are this server's until then, and nobody raises them again:
        what stands behind the server is closed after it.
        """
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            await self.serve_until_told()
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def serve_until_told(self) -> None:
        """Serve until `should_exit`, in a process whose signals are another's."""
        _log.info("serving", port=self.port, tls=self._settings.tls is not None)
        await self.serve(sockets=[self._socket])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone; uvicorn would take them wherever it serves."""
        yield


def _bind(address: str) -> socket.socket:
    """A socket bound to `host:port`."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
        bound.listen(BACKLOG)
    except (OSError, ValueError):
        bound.close()
        raise
    return bound
