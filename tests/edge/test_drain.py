"""Draining the real Envoy."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from deploy.envoy.admin import Admin
from deploy.envoy.drain import drain, main
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, front
from tests.edge.toys import chat_request

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session", params=["unix", "tcp"])
async def drained_edge(
    mesh: Mesh, identity: Identity, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Front]:
    """An edge with its admin interface, for the test to drain."""
    admin = f"unix:{tmp_path}/admin.sock" if request.param == "unix" else f"127.0.0.1:{free_port()}"
    told = {"listen_address": f"127.0.0.1:{free_port()}", "admin_address": admin, **mesh.upstreams()}
    settings = edge_settings(identity("edge"), tmp_path, **told)
    async with front(settings, tmp_path) as running:
        yield running


async def test_an_idle_edge_is_drained_at_once(drained_edge: Front) -> None:
    admin = Admin(drained_edge.settings.admin_address)
    assert await asyncio.to_thread(drain, admin, 10) == 0
    async with drained_edge.http() as client:
        probes = [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]
    assert probes == [503, 503]


async def test_a_running_stream_is_waited_for_and_not_cut(
    drained_edge: Front, mesh: Mesh, tokens: TokenMaker
) -> None:
    seen = mesh.seen["demo"]
    admin = Admin(drained_edge.settings.admin_address)
    async with drained_edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(
            chat_request("wait"), metadata=tokens.metadata("*"), timeout=30
        )
        await asyncio.wait_for(seen.waiting.wait(), 10)
        assert await asyncio.to_thread(drain, admin, 0.3) == 1
        assert not seen.cancelled.is_set()
        waiting = asyncio.create_task(asyncio.to_thread(drain, admin, 20))
        call.cancel()
        assert await waiting == 0


async def test_the_command_says_how_it_went(drained_edge: Front, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--admin", drained_edge.settings.admin_address, "--seconds", "5"]
    assert await asyncio.to_thread(main, arguments) == 0
    assert capsys.readouterr().err == ""


async def test_without_envoy_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--admin", f"unix:{tmp_path}/none.sock"]) == 2
    assert main(["--admin", f"127.0.0.1:{free_port()}"]) == 2
    assert capsys.readouterr().err.count("Envoy cannot be drained") == 2


@pytest.fixture
def stranger() -> Iterator[str]:
    """Something that is no Envoy: it answers each connection with one line."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.readline()
            answer = b"HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n" if b"fail" in asked else b"hello\r\n"
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_something_else_at_the_address_is_an_error(stranger: str) -> None:
    admin = Admin(stranger)
    with pytest.raises(OSError, match="answers /healthcheck/fail with 404"):
        await asyncio.to_thread(admin.drain)
    with pytest.raises(OSError, match="answers no HTTP"):
        await asyncio.to_thread(admin.active_calls)
