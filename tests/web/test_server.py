from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import ValidationError

from deploy.certificates import CertificateAuthority
from services.rpc.tls import TlsFiles
from web.server import PageServer, is_edge
from web.settings import WebSettings

WAIT_SECONDS = 10


def settings(**values: Any) -> WebSettings:
    return WebSettings(edge_address="127.0.0.1:1", grace_seconds=0, **values)


def settings_with_tls(files: TlsFiles) -> WebSettings:
    return settings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
    )


@asynccontextmanager
async def serving(configured: WebSettings) -> AsyncIterator[PageServer]:
    app = FastAPI()
    app.get("/")(lambda: PlainTextResponse("ok"))
    server = PageServer(app, configured)
    task = asyncio.create_task(server.serve_until_told())
    yield server
    server.should_exit = True
    async with asyncio.timeout(WAIT_SECONDS):
        await task


def context_of(files: TlsFiles | None, trusted: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted)
    if files is not None:
        context.load_cert_chain(files.certificate, files.private_key)
    return context


async def get(server: PageServer, context: ssl.SSLContext) -> str:
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=WAIT_SECONDS) as client:
        return (await client.get(f"https://localhost:{server.port}/")).text


async def test_plain_http_is_served_on_loopback() -> None:
    async with serving(settings()) as server, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "ok"


async def test_the_edge_may_connect(identity: Callable[[str], TlsFiles]) -> None:
    web, edge = identity("web"), identity("edge")
    async with serving(settings_with_tls(web)) as server:
        assert await get(server, context_of(edge, web.authority)) == "ok"


async def test_a_replaced_certificate_is_shown_to_later_connections(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path)
    web, edge = authority.issue("web"), authority.issue("edge")
    async with serving(settings_with_tls(web)) as server:
        before = await asyncio.to_thread(certificate_shown, server, context_of(edge, web.authority))
        authority.issue("web")
        after = await asyncio.to_thread(certificate_shown, server, context_of(edge, web.authority))
        web.certificate.unlink()
        kept = await asyncio.to_thread(certificate_shown, server, context_of(edge, edge.authority))
    assert before != after
    assert kept == after


def certificate_shown(server: PageServer, context: ssl.SSLContext) -> bytes | None:
    connection = socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS)
    with context.wrap_socket(connection, server_hostname="localhost") as secure:
        return secure.getpeercert(binary_form=True)


async def test_a_neighbour_may_not(identity: Callable[[str], TlsFiles]) -> None:
    web = identity("web")
    async with serving(settings_with_tls(web)) as server:
        for files in (identity("tools"), None):
            with pytest.raises(httpx.TransportError):
                await get(server, context_of(files, web.authority))


async def test_a_foreign_edge_may_not(
    identity: Callable[[str], TlsFiles], foreign_authority: CertificateAuthority
) -> None:
    web, foreign = identity("web"), foreign_authority.issue("edge")
    async with serving(settings_with_tls(web)) as server:
        with pytest.raises(httpx.TransportError):
            await get(server, context_of(foreign, web.authority))


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        ((("URI", "spiffe://parley.local/edge"), ("DNS", "localhost")), True),
        ((("URI", "spiffe://parley.local/edge2"),), False),
        ((("URI", "spiffe://other.local/edge"),), False),
        ((("URI", "spiffe://parley.local/edge"), ("URI", "spiffe://parley.local/tools")), False),
        ((("DNS", "spiffe://parley.local/edge"),), False),
        ((), False),
    ],
)
def test_only_the_edge_s_exact_name_counts(names: tuple[tuple[str, str], ...], allowed: bool) -> None:
    assert is_edge({"subjectAltName": names}, "parley.local") is allowed
    assert not is_edge(None, "parley.local")


def test_a_port_in_use_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"):
            PageServer(FastAPI(), settings(listen_address=address))


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:http", "127.0.0.1:"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        settings(listen_address=address)


def test_half_an_identity_is_refused(identity: Callable[[str], TlsFiles]) -> None:
    with pytest.raises(ValidationError, match="or none of them"):
        settings(tls_certificate_path=identity("web").certificate)
