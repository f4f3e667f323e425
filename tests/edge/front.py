"""The real Envoy with a rendered configuration, as a process of the test."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx

from deploy.envoy.contract import load_contract
from deploy.envoy.render import write
from deploy.envoy.settings import EdgeSettings
from services.rpc.tls import TlsFiles
from tests.conftest import TokenMaker

T = TypeVar("T")

READY_SECONDS = 30
LOOK_SECONDS = 0.05
CONFIGURATION = "edge.yaml"
ENVOY = Path(sys.executable).with_name("envoy")


@dataclass
class Front:
    """A running edge.

    Attributes:
        settings: What it was rendered from.
        folder: Where its files lie.
        process: Envoy.
    """

    settings: EdgeSettings
    folder: Path
    process: Process

    @property
    def address(self) -> str:
        return self.settings.listen_address

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    @property
    def log(self) -> str:
        """The access log so far."""
        return Path(self.settings.access_log_path).read_text()

    async def checks_signatures(self) -> bool | None:
        """Whether the edge has the signing keys: only then does it tell a forged token from a good one."""
        stranger = TokenMaker()
        async with self.http() as client:
            answer = await client.get("/api/v1/me", headers=dict(stranger.metadata("*")))
        return answer.status_code == 401 or None

    async def logged(self, request_id: str) -> dict[str, Any]:
        """The access log's entry of a request; Envoy writes it a moment after the answer."""

        async def entry() -> dict[str, Any] | None:
            entries = [json.loads(line) for line in self.log.splitlines()]
            return next((entry for entry in entries if entry.get("request_id") == request_id), None)

        return await eventually(entry)

    def channel(self) -> grpc.aio.Channel:
        """A channel as a caller outside opens it."""
        roots = self.settings.tls_authority_path.read_bytes()
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(roots))

    def tls(self, as_service: TlsFiles | None = None) -> ssl.SSLContext:
        """What callers outside trust; with a certificate of the mesh, should the edge ask for one."""
        context = ssl.create_default_context(cafile=str(self.settings.tls_authority_path))
        if as_service is not None:
            context.load_cert_chain(as_service.certificate, as_service.private_key)
        return context

    def http(self, as_service: TlsFiles | None = None) -> httpx.AsyncClient:
        """An HTTP/1.1 client of the edge."""
        return httpx.AsyncClient(base_url=self.url, verify=self.tls(as_service), timeout=20)


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """What a look gives as soon as it gives something."""
    pause = asyncio.Event()
    async with asyncio.timeout(READY_SECONDS):
        while (found := await look()) is None:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, pause.set)
            await pause.wait()
            pause.clear()
    return found


async def until_healthy(edge: Front) -> None:
    """Return when the edge takes its services for healthy: between tests they stand still."""

    async def healthy() -> bool | None:
        async with edge.http() as client:
            return (await client.get("/healthz")).status_code == 200 or None

    await eventually(healthy)


@asynccontextmanager
async def front(settings: EdgeSettings, folder: Path, *, keys: bool = True) -> AsyncIterator[Front]:
    """Run Envoy until the block ends.

    It listens once each service's health was looked at, and a moment later it
    has the signing keys, which is waited for unless auth is down.
    """
    write(settings, load_contract(), folder / CONFIGURATION)
    async with envoy(settings, folder, keys=keys) as running:
        yield running


@asynccontextmanager
async def envoy(settings: EdgeSettings, folder: Path, *, keys: bool) -> AsyncIterator[Front]:
    """Run Envoy on the configuration that lies in the folder."""
    options = [
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "50",
    ]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            ENVOY, "-c", str(folder / CONFIGURATION), *options, stdout=log, stderr=log
        )
    try:
        running = Front(settings, folder, process)
        await _listening(running)
        if keys:
            await eventually(running.checks_signatures)
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), READY_SECONDS)


async def _listening(running: Front) -> None:
    """Wait for the port, or for Envoy to give up."""
    async with running.channel() as channel:
        ready = asyncio.ensure_future(channel.channel_ready())
        gone = asyncio.ensure_future(running.process.wait())
        await asyncio.wait({ready, gone}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not ready.done():
            ready.cancel()
            raise RuntimeError((running.folder / "envoy.log").read_text())
