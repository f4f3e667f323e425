"""The health of the whole platform and its reflection, as auth answers them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.auth.__main__ import serving
from services.auth.health import PLATFORM, Replica, parse_replica
from services.auth.settings import AuthSettings
from services.rpc.channel import open_channel
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles
from tests.auth.conftest import TRUST_DOMAIN, bearer

TOOLS = "parley.tools.v1.ToolService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Health has nothing to do with the database: one kind is enough."""
    return f"sqlite+aiosqlite:///{tmp_path / 'auth.db'}"


class Neighbour:
    """A server that answers health as another service would."""

    def __init__(self, tls: TlsFiles, tokens: Any) -> None:
        settings = ServiceSettings(
            tls_certificate_path=tls.certificate,
            tls_private_key_path=tls.private_key,
            tls_authority_path=tls.authority,
            grace_seconds=0,
        )
        self.record = health.aio.HealthServicer()
        self.server = RpcServer(settings, tokens.verifier(), health_servicer=self.record)


@pytest.fixture
async def neighbour(identity: Callable[[str], TlsFiles], tokens: Any) -> AsyncIterator[tuple[Neighbour, int]]:
    neighbour = Neighbour(identity("tools"), tokens)
    port = await neighbour.server.start()
    yield neighbour, port
    await neighbour.server.stop()


async def seen(watch: Any, status: int) -> bool:
    """Whether the watched status comes up in time."""
    async with asyncio.timeout(20):
        async for answer in watch:
            if answer.status == status:
                return True
    return False


async def test_an_observed_service_is_followed_and_does_not_drag_this_process_down(
    auth_settings: Callable[..., AuthSettings],
    identity: Callable[[str], TlsFiles],
    neighbour: tuple[Neighbour, int],
) -> None:
    other, other_port = neighbour
    observed = {TOOLS: (f"tools@127.0.0.1:{other_port}", "tools@127.0.0.1:1")}
    async with serving(auth_settings(observed=observed)) as (_, port):
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("edge"), service="auth", trust_domain=TRUST_DOMAIN
        )
        stub = health_pb2_grpc.HealthStub(channel)

        async def status(service: str) -> int:
            return int((await stub.Check(health_pb2.HealthCheckRequest(service=service))).status)

        assert await status(TOOLS) == NOT_SERVING
        assert await status("") == SERVING
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in (TOOLS, PLATFORM)]
        await other.record.set(TOOLS, SERVING)
        assert [await seen(watch, SERVING) for watch in watches] == [True, True]
        await other.record.set(TOOLS, NOT_SERVING)
        assert [await seen(watch, NOT_SERVING) for watch in watches] == [True, True]
        assert await status("") == SERVING
        assert await status("parley.auth.v1.SessionService") == SERVING
        await channel.close()


async def test_replicas_that_a_file_names_are_followed(
    auth_settings: Callable[..., AuthSettings],
    identity: Callable[[str], TlsFiles],
    neighbour: tuple[Neighbour, int],
    tmp_path: Path,
) -> None:
    other, other_port = neighbour
    await other.record.set(TOOLS, SERVING)
    path = tmp_path / "replicas"

    def named(*addresses: str) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text("\n".join(addresses))
        fresh.replace(path)

    # It is not there yet: nobody serves.
    async with serving(auth_settings(observed={TOOLS: (f"tools@file:{path}",)})) as (_, port):
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("edge"), service="auth", trust_domain=TRUST_DOMAIN
        )
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=TOOLS))
        assert await seen(watch, NOT_SERVING)
        named("127.0.0.1:1", f"127.0.0.1:{other_port}")
        assert await seen(watch, SERVING)
        named("127.0.0.1:1")
        assert await seen(watch, NOT_SERVING)
        await channel.close()


async def test_a_neighbour_with_another_certificate_is_not_believed(
    auth_settings: Callable[..., AuthSettings],
    identity: Callable[[str], TlsFiles],
    neighbour: tuple[Neighbour, int],
) -> None:
    other, other_port = neighbour
    await other.record.set(TOOLS, SERVING)
    observed = {TOOLS: (f"inference@127.0.0.1:{other_port}",), "": ()}
    async with serving(auth_settings(observed=observed)) as (_, port):
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("edge"), service="auth", trust_domain=TRUST_DOMAIN
        )
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=TOOLS))
        assert answer.status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        await channel.close()


async def test_draining_is_told(
    auth_settings: Callable[..., AuthSettings], identity: Callable[[str], TlsFiles]
) -> None:
    # Long enough for the answer to arrive before the server is gone, on any machine.
    settings = auth_settings(drain_seconds=2)
    async with serving(settings) as (server, port):
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("edge"), service="auth", trust_domain=TRUST_DOMAIN
        )
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=PLATFORM))
        assert await seen(watch, SERVING)
        stopped = asyncio.create_task(server.serve_until_stopped())
        server.ask_to_stop()
        assert await seen(watch, NOT_SERVING)
        watch.cancel()
        async with asyncio.timeout(20):
            await stopped
        await channel.close()


async def test_reflection_knows_the_whole_platform(
    auth_settings: Callable[..., AuthSettings], identity: Callable[[str], TlsFiles]
) -> None:
    settings = auth_settings()
    async with serving(settings) as (_, port):
        channel = open_channel(
            f"127.0.0.1:{port}", tls=identity("edge"), service="auth", trust_domain=TRUST_DOMAIN
        )
        token = await admin_token(channel, settings)
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="parley.inference.v1.InferenceService"
            ),
        ]
        call = stub.ServerReflectionInfo(iter(requests), metadata=bearer(token))
        answers = [answer async for answer in call]
        listed = {service.name for service in answers[0].list_services_response.service}
        assert {"parley.inference.v1.InferenceService", TOOLS, "parley.auth.v1.KeyService"} <= listed
        assert answers[1].file_descriptor_response.file_descriptor_proto
        await channel.close()


async def admin_token(channel: Any, settings: AuthSettings) -> str:
    password = (settings.data_path / "admin-password").read_text().strip()
    answer = await SessionServiceStub(channel).Login(
        session_service_pb2.LoginRequest(username="admin", password=password)
    )
    return str(answer.tokens.access_token)


@pytest.mark.parametrize(
    "text", ["", "tools", "tools@", "@host:1", "tools@host", "tools@host:x", "tools@:1", "tools@file:"]
)
def test_a_malformed_replica_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="peer@host:port"):
        parse_replica(text)


def test_a_replica_may_have_an_ipv6_address() -> None:
    assert parse_replica("tools@[::1]:9102") == Replica("tools", "[::1]:9102")
