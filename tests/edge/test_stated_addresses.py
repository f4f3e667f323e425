"""Whom the edge believes where a person is: the page, by its identity, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from deploy.certificates import CertificateAuthority
from parley.auth.v1.session_service_pb2 import LoginRequest, WhoAmIRequest
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.rpc.tls import TlsFiles
from tests.conftest import TokenMaker
from tests.edge.answers import refused
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, front
from tests.edge.toys import GOOD_KEY
from web.edge import Edge, as_page, channel_to_edge
from web.settings import WebSettings

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

DOMAIN = "parley.local"
SEEN = "x-parley-client-address"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def paged(
    mesh: Mesh, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    folder = tmp_path_factory.mktemp("stated")
    settings = edge_settings(
        identity("edge"),
        folder,
        listen_address=f"127.0.0.1:{free_port()}",
        web_address=f"127.0.0.1:{free_port()}",
        anonymous_burst=3,
        anonymous_calls_per_second=1,
        **mesh.upstreams(),
    )
    async with front(settings, folder) as running:
        yield running


async def asks(channel: grpc.aio.Channel, tokens: TokenMaker, stated: str) -> None:
    """Any call, of somebody who is said to be there."""
    metadata = (*tokens.metadata("*"), ("x-forwarded-for", stated), (SEEN, stated))
    await SessionServiceStub(channel).WhoAmI(WhoAmIRequest(), metadata=metadata, timeout=10)


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
async def test_the_page_states_where_a_person_is(
    paged: Front, mesh: Mesh, identity: Identity, tokens: TokenMaker, address: str
) -> None:
    async with as_page(paged.address, identity("web"), DOMAIN) as channel:
        await asks(channel, tokens, address)
    assert mesh.seen["auth"].header(SEEN) == address


async def test_the_key_exchange_is_shown_where_the_person_is(
    paged: Front, mesh: Mesh, identity: Identity
) -> None:
    async with as_page(paged.address, identity("web"), DOMAIN) as channel:
        metadata = (("x-api-key", GOOD_KEY), ("x-forwarded-for", "203.0.113.8"))
        await SessionServiceStub(channel).WhoAmI(WhoAmIRequest(), metadata=metadata, timeout=10)
    assert mesh.exchange.asked[SEEN] == "203.0.113.8"


async def test_what_is_no_address_is_the_page_s_own(
    paged: Front, mesh: Mesh, identity: Identity, tokens: TokenMaker
) -> None:
    async with as_page(paged.address, identity("web"), DOMAIN) as channel:
        await asks(channel, tokens, "203.0.113.7:443; drop")
    assert mesh.seen["auth"].header(SEEN) == "127.0.0.1"


async def test_whoever_calls_as_others_do_states_nothing(
    paged: Front, mesh: Mesh, identity: Identity, tokens: TokenMaker
) -> None:
    async with paged.channel() as channel:
        await asks(channel, tokens, "203.0.113.7")
    assert mesh.seen["auth"].header(SEEN) == "127.0.0.1"
    headers = {**dict(tokens.metadata("*")), "x-forwarded-for": "203.0.113.7"}
    async with paged.http(as_service=identity("web")) as client:
        assert (await client.get("/api/v1/me", headers=headers)).status_code == 200
    assert mesh.seen["auth"].header(SEEN) == "127.0.0.1"


async def test_a_neighbour_and_a_foreign_page_are_not_let_in(
    paged: Front, identity: Identity, foreign_authority: CertificateAuthority, tokens: TokenMaker
) -> None:
    foreign = foreign_authority.issue("web")
    forged = TlsFiles(foreign.certificate, foreign.private_key, identity("web").authority)
    for files in (identity("tools"), identity("edge"), forged):
        async with as_page(paged.address, files, DOMAIN) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asks(channel, tokens, "203.0.113.7")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_nobody_is_let_in_there_without_a_certificate(paged: Front, tokens: TokenMaker) -> None:
    roots = grpc.ssl_channel_credentials(paged.settings.tls_authority_path.read_bytes())
    options = (("grpc.ssl_target_name_override", f"edge.{DOMAIN}"),)
    async with grpc.aio.secure_channel(paged.address, roots, options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asks(channel, tokens, "203.0.113.7")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_flood_through_the_page_is_the_person_s_alone(
    paged: Front, mesh: Mesh, identity: Identity
) -> None:
    files = identity("web")
    settings = WebSettings(
        edge_address=paged.address,
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
    )
    channel = channel_to_edge(settings)
    login = SessionServiceStub(channel).Login
    request = LoginRequest(username="ada", password="a password")
    for _ in range(4):
        flooding = login(request, metadata=(("x-forwarded-for", "192.0.2.1"),), timeout=10)
        try:
            await flooding
        except grpc.aio.AioRpcError:
            break
    again = login(request, metadata=(("x-forwarded-for", "192.0.2.1"),), timeout=10)
    assert (await refused(again)).reason == "OVERLOADED"
    edge = Edge(channel)
    await edge.login("ada", "a password", "192.0.2.2")
    assert mesh.seen["auth"].header(SEEN) == "192.0.2.2"
    await edge.close()
