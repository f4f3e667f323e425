"""The health check of containers: it asks as the process itself, and believes what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from fastapi import FastAPI

from cli.local.preflight import free_port
from cli.probe import main
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles
from tests.conftest import TokenMaker
from web.server import PageServer
from web.settings import WebSettings

Identity = Callable[[str], TlsFiles]


def tell(monkeypatch: pytest.MonkeyPatch, process: str, files: TlsFiles, address: str) -> None:
    """The variables that a container gives to the process and to its probe."""
    prefix = f"PARLEY_{process.upper()}_"
    monkeypatch.setenv(f"{prefix}LISTEN_ADDRESS", address)
    monkeypatch.setenv(f"{prefix}TLS_CERTIFICATE_PATH", str(files.certificate))
    monkeypatch.setenv(f"{prefix}TLS_PRIVATE_KEY_PATH", str(files.private_key))
    monkeypatch.setenv(f"{prefix}TLS_AUTHORITY_PATH", str(files.authority))
    monkeypatch.setenv(f"{prefix}DRAIN_SECONDS", "0")


@pytest_asyncio.fixture
async def tools(
    identity: Identity, tokens: TokenMaker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RpcServer]:
    """A server with the identity of tools that listens on every address, as in a container."""
    files, address = identity("tools"), f"0.0.0.0:{free_port()}"
    tell(monkeypatch, "tools", files, address)
    settings = ServiceSettings(
        listen_address=address,
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        grace_seconds=0,
    )
    server = RpcServer(settings, tokens.verifier())
    await server.start()
    yield server
    await server.stop()


async def test_a_service_that_serves_is_healthy(tools: RpcServer) -> None:
    await tools.set_serving(True)
    assert await asyncio.to_thread(main, ["tools"]) == 0


async def test_one_that_loads_or_drains_is_alive_but_not_healthy(
    tools: RpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["tools"]) == 1
    assert await asyncio.to_thread(main, ["tools", "--alive"]) == 0
    assert capsys.readouterr().err == "tools: it is not serving\n"


async def test_one_that_is_gone_is_not_alive(tools: RpcServer) -> None:
    await tools.stop()
    assert await asyncio.to_thread(main, ["tools", "--alive"]) == 1


async def test_the_page_is_healthy_while_it_shows_its_identity(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, address = identity("web"), f"127.0.0.1:{free_port()}"
    tell(monkeypatch, "web", files, address)
    settings = WebSettings(
        listen_address=address,
        edge_address="127.0.0.1:1",
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
    )
    server = PageServer(FastAPI(), settings)
    serving = asyncio.create_task(server.serve_until_told())
    assert await asyncio.to_thread(main, ["web"]) == 0
    server.should_exit = True
    await serving
    assert await asyncio.to_thread(main, ["web"]) == 1
    assert capsys.readouterr().err.startswith("web: ")


def test_an_edge_that_is_not_there_is_told(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(monkeypatch, "edge", identity("edge"), "127.0.0.1:1")
    monkeypatch.setenv("PARLEY_EDGE_ADMIN_ADDRESS", "unix:/nonexistent/admin.sock")
    assert main(["edge"]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_probe_without_its_settings_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["auth"]) == 1
    assert capsys.readouterr().err == "auth: 3 of its settings are missing\n"
