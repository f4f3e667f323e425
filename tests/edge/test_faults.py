"""What callers meet when something behind the edge is gone, hangs, or is not what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.local.preflight import free_port
from deploy.certificates import CertificateAuthority
from deploy.envoy.settings import EdgeSettings
from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.inference.v1 import inference_service_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1 import tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from services.rpc.server import RpcServer
from tests.conftest import TokenMaker
from tests.edge.answers import refusal, refused
from tests.edge.conftest import Identity, Mesh, edge_settings, service, start_mesh
from tests.edge.front import Front, eventually, front
from tests.edge.toys import GOOD_KEY, Seen, add_auth, add_inference, add_tools, chat_request

pytestmark = pytest.mark.slow


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def own_mesh(identity: Identity, tokens: TokenMaker, stack: AsyncExitStack) -> Mesh:
    """Services that the test may break."""
    return await start_mesh(identity, tokens, stack)


def own_settings(mesh: Mesh, identity: Identity, folder: Path, **changes: Any) -> EdgeSettings:
    address = f"127.0.0.1:{free_port()}"
    told = {
        "listen_address": address,
        "jwks_cache_seconds": 1,
        "health_check_seconds": 0.1,
        **mesh.upstreams(),
    }
    return edge_settings(identity("edge"), folder, **{**told, **changes})


@asynccontextmanager
async def own_edge(
    mesh: Mesh, identity: Identity, folder: Path, *, keys: bool = True, **changes: Any
) -> AsyncIterator[Front]:
    async with front(own_settings(mesh, identity, folder, **changes), folder, keys=keys) as running:
        yield running


async def models(channel: grpc.aio.Channel, tokens: TokenMaker) -> inference_service_pb2.ListModelsResponse:
    stub = InferenceServiceStub(channel)
    request = inference_service_pb2.ListModelsRequest()
    return await stub.ListModels(request, metadata=tokens.metadata("*"), timeout=10)


async def test_a_service_that_is_down_is_a_typed_unavailable(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, tmp_path: Path
) -> None:
    await own_mesh.servers["tools"].stop()
    async with own_edge(own_mesh, identity, tmp_path) as edge:
        async with edge.channel() as channel:
            stub = ToolServiceStub(channel)
            request = tool_service_pb2.ListToolsRequest()
            told = await refused(stub.ListTools(request, metadata=tokens.metadata("*"), timeout=10))
        async with edge.http() as client:
            answer = await client.get("/api/v1/tools", headers=dict(tokens.metadata("*")))
            health, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (told.code, told.reason) == (14, "DEPENDENCY_UNAVAILABLE")
    assert "tools" in told.message
    assert (answer.status_code, refusal(answer)) == (503, told)
    assert (health.status_code, ready.status_code) == (503, 200)


async def test_without_auth_tokens_go_on_and_keys_do_not(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, tmp_path: Path
) -> None:
    async with own_edge(own_mesh, identity, tmp_path) as edge, edge.channel() as channel:
        await models(channel, tokens)
        await own_mesh.servers["auth"].stop()

        async def auth_is_out() -> bool | None:
            answer = await refused(SessionServiceStub(channel).Login(login(), timeout=10))
            return answer.reason == "DEPENDENCY_UNAVAILABLE" or None

        assert await eventually(auth_is_out)
        await _keys_were_due_again(edge)
        assert (await models(channel, tokens)).models[0].name == "demo"
        async with edge.http() as client:
            answer = await client.get("/api/v1/models", headers={"x-api-key": GOOD_KEY})
    assert (answer.status_code, refusal(answer).reason) == (503, "DEPENDENCY_UNAVAILABLE")


def login() -> session_service_pb2.LoginRequest:
    return session_service_pb2.LoginRequest(username="ada", password="none")


async def _keys_were_due_again(edge: Front) -> None:
    """Wait until Envoy tried in vain to fetch the signing keys again."""
    log = edge.folder / "envoy.log"
    before = log.read_text().count("Jwks async fetching")

    async def tried() -> bool | None:
        return log.read_text().count("Jwks async fetching") > before or None

    assert await eventually(tried)


async def test_a_token_is_not_believed_before_the_keys_are_there(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, tmp_path: Path
) -> None:
    await own_mesh.servers["auth"].stop()
    async with own_edge(own_mesh, identity, tmp_path, keys=False) as edge, edge.http() as client:
        answer = await client.get("/api/v1/models", headers=dict(tokens.metadata("*")))
    assert (answer.status_code, refusal(answer).reason) == (503, "DEPENDENCY_UNAVAILABLE")


async def test_an_idempotent_call_moves_to_the_other_replica(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, stack: AsyncExitStack, tmp_path: Path
) -> None:
    spare = service("inference", identity, tokens)
    add_inference(spare, "spare", Seen())
    address = f"127.0.0.1:{await spare.start()}"
    stack.push_async_callback(spare.stop)
    await spare.set_serving(True)
    pools = {"demo": [own_mesh.addresses["demo"], address]}
    async with own_edge(own_mesh, identity, tmp_path, models=pools) as edge, edge.channel() as channel:
        before = {(await models(channel, tokens)).models[0].name for _ in range(20)}
        await own_mesh.servers["demo"].stop()
        after = {(await models(channel, tokens)).models[0].name for _ in range(20)}
    assert before == {"demo", "spare"}
    assert after == {"spare"}


async def test_a_stream_is_not_repeated_when_its_replica_dies(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, tmp_path: Path
) -> None:
    seen = own_mesh.seen["demo"]
    async with own_edge(own_mesh, identity, tmp_path) as edge, edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(
            chat_request("wait"), metadata=tokens.metadata("*"), timeout=20
        )
        await call.read()
        await own_mesh.servers["demo"].stop()
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    assert seen.calls == 1


async def test_a_service_with_a_foreign_certificate_gets_no_call(
    own_mesh: Mesh,
    identity: Identity,
    foreign_authority: CertificateAuthority,
    tokens: TokenMaker,
    stack: AsyncExitStack,
    tmp_path: Path,
) -> None:
    impostor, seen = await _impostor(lambda _name: foreign_authority.issue("tools"), "tools", tokens, stack)
    async with own_edge(own_mesh, identity, tmp_path, tools_addresses=[impostor]) as edge:
        await _tools_are_unavailable(edge, tokens)
    assert seen.calls == 0


async def test_a_sister_s_certificate_does_not_stand_in_for_a_service(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, stack: AsyncExitStack, tmp_path: Path
) -> None:
    impostor, seen = await _impostor(identity, "inference", tokens, stack)
    async with own_edge(own_mesh, identity, tmp_path, tools_addresses=[impostor]) as edge:
        await _tools_are_unavailable(edge, tokens)
    assert seen.calls == 0


async def _impostor(
    identity: Identity, name: str, tokens: TokenMaker, stack: AsyncExitStack
) -> tuple[str, Seen]:
    """A tools service with the identity of this name."""
    server: RpcServer = service(name, identity, tokens)
    seen = Seen()
    add_tools(server, seen)
    port = await server.start()
    stack.push_async_callback(server.stop)
    await server.set_serving(True)
    return f"127.0.0.1:{port}", seen


async def _tools_are_unavailable(edge: Front, tokens: TokenMaker) -> None:
    async with edge.channel() as channel:
        request = tool_service_pb2.ListToolsRequest()
        told = await refused(
            ToolServiceStub(channel).ListTools(request, metadata=tokens.metadata("*"), timeout=10)
        )
    assert (told.code, told.reason) == (14, "DEPENDENCY_UNAVAILABLE")


@pytest.mark.parametrize("who", ["foreign", "inference", "nobody"])
async def test_nobody_but_the_edge_calls_a_service_for_users(
    own_mesh: Mesh,
    identity: Identity,
    foreign_authority: CertificateAuthority,
    tokens: TokenMaker,
    who: str,
) -> None:
    trusted = identity("edge").authority.read_bytes()
    files = foreign_authority.issue("edge") if who == "foreign" else identity("inference")
    shown = (
        (None, None) if who == "nobody" else (files.private_key.read_bytes(), files.certificate.read_bytes())
    )
    credentials = grpc.ssl_channel_credentials(trusted, *shown)
    async with grpc.aio.secure_channel(own_mesh.addresses["auth"], credentials) as channel:
        told = await refused(
            SessionServiceStub(channel).WhoAmI(
                session_service_pb2.WhoAmIRequest(), metadata=tokens.metadata("*"), timeout=10
            )
        )
    assert told.code in (7, 14)
    assert own_mesh.seen["auth"].calls == 0


async def test_a_new_certificate_is_shown_without_a_restart(
    own_mesh: Mesh, tokens: TokenMaker, authority: CertificateAuthority, tmp_path: Path, identity: Identity
) -> None:
    def fresh(_name: str) -> Any:
        return authority.issue("edge", hosts=("localhost", "127.0.0.1"))

    settings = own_settings(own_mesh, fresh, tmp_path)
    async with front(settings, tmp_path) as edge:
        first = await _shown_certificate(edge)
        fresh("edge")

        async def replaced() -> bytes | None:
            shown = await _shown_certificate(edge)
            return shown if shown != first else None

        assert await eventually(replaced) != first
        async with edge.channel() as channel:
            assert (await models(channel, tokens)).models[0].name == "demo"


async def _shown_certificate(edge: Front) -> bytes:
    _, writer = await asyncio.open_connection(*edge.address.split(":"), ssl=edge.tls())
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


async def test_new_signing_keys_are_fetched(
    own_mesh: Mesh, identity: Identity, tokens: TokenMaker, stack: AsyncExitStack, tmp_path: Path
) -> None:
    successor = TokenMaker()
    async with own_edge(own_mesh, identity, tmp_path) as edge, edge.http() as client:
        headers = dict(successor.metadata("*"))
        refused_at_first = await client.get("/api/v1/me", headers=headers)
        await own_mesh.servers["auth"].stop()
        server = service("auth", identity, successor, own_mesh.addresses["auth"])
        add_auth(server, successor, Seen())
        await server.start()
        stack.push_async_callback(server.stop)
        await server.set_serving(True)

        async def accepted() -> bool | None:
            return (await client.get("/api/v1/me", headers=headers)).status_code == 200 or None

        assert await eventually(accepted)
    assert refused_at_first.status_code == 401
