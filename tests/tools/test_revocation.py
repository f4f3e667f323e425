"""Open streams of tool calls end when their caller's token is revoked: with a real auth service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from parley.tools.v1 import tool_service_pb2
from services.rpc.channel import open_channel
from services.rpc.revocation_feed import RevocationFeed
from services.rpc.revocations import Revocations
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier, remote_keys
from tests.conftest import AUDIENCE, ISSUER
from tests.running_auth import RunningAuth, running_auth
from tests.tools.conftest import Gate, Service, call_message, outcome, run_request

# From the answer to RevokeKey to the end of the stream.
SECONDS = 1.0
REVOKED = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")

Start = Callable[[Gate], Any]


@pytest.fixture
def platform(tmp_path: Path, identity: Callable[[str], TlsFiles], serve: Callable[..., Any]) -> Start:
    """Serves a gate, following a running auth service."""

    @asynccontextmanager
    async def start(gate: Gate) -> AsyncIterator[tuple[RunningAuth, Service]]:
        async with AsyncExitStack() as stack:
            auth = await stack.enter_async_context(running_auth(tmp_path, identity))
            channel = await stack.enter_async_context(
                open_channel(auth.address, tls=identity("tools"), service="auth", trust_domain="parley.local")
            )
            revocations = Revocations()

            async def report(dependency: str, *, answers: bool) -> None:
                """Nobody asks here."""

            await stack.enter_async_context(RevocationFeed(channel, revocations, report).following())
            verifier = JwksVerifier(remote_keys(channel), issuer=ISSUER, audience=AUDIENCE)
            serving = serve((gate.tool,), verifier=verifier, revocations=revocations)
            yield auth, await stack.enter_async_context(serving)

    return start


async def read(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def ends_as_revoked(call: Any, gate: Gate) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async with asyncio.timeout(SECONDS):
            await read(call)
    assert outcome(ended.value) == REVOKED
    await gate.wait_for_nobody()


async def test_a_revoked_key_ends_its_stream_and_all_its_tools(platform: Start) -> None:
    gate = Gate()
    async with platform(gate) as (auth, service), service.stub() as stub:
        key_id, metadata = await auth.key()
        call = stub.ExecuteMany(metadata=metadata)
        for number in range(3):
            await call.write(run_request(f"call-{number}", "gate", f'{{"name":"{number}"}}'))
        await gate.wait_for_inside(3)
        await auth.revoke(key_id)
        await ends_as_revoked(call, gate)
        assert sorted(gate.cancelled) == ["0", "1", "2"]


async def test_a_revoked_key_ends_its_single_call(platform: Start) -> None:
    gate = Gate()
    async with platform(gate) as (auth, service), service.stub() as stub:
        key_id, metadata = await auth.key()
        request = tool_service_pb2.ExecuteRequest(call=call_message("call-1", "gate", '{"name":"1"}'))
        call = stub.Execute(request, metadata=metadata)
        await gate.wait_for_inside(1)
        await auth.revoke(key_id)
        await ends_as_revoked(call, gate)
        assert gate.cancelled == ["1"]


async def test_a_stream_of_another_key_goes_on(platform: Start) -> None:
    gates = Gate()
    async with platform(gates) as (auth, service), service.stub() as stub:
        revoked_id, revoked = await auth.key()
        _, kept = await auth.key()
        first, second = stub.ExecuteMany(metadata=revoked), stub.ExecuteMany(metadata=kept)
        await first.write(run_request("call-1", "gate", '{"name":"revoked"}'))
        await second.write(run_request("call-1", "gate", '{"name":"kept"}'))
        await gates.wait_for_inside(2)
        await auth.revoke(revoked_id)
        with pytest.raises(grpc.aio.AioRpcError):
            await read(first)
        assert gates.inside == ["kept"]
        gates.open.set()
        await second.done_writing()
        await read(second)
        assert await second.code() is grpc.StatusCode.OK
