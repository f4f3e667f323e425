"""Open chats end when their caller's token is revoked: with a real auth service, over mTLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from parley.auth.v1.revocation_service_pb2 import REVOCATION_KIND_KEY
from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta, StopReason, TurnEnd
from services.rpc.channel import open_channel
from services.rpc.revocation_feed import HEALTH_NAME, RevocationFeed
from services.rpc.revocations import Revocation, Revocations, Subject
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier, remote_keys
from tests.conftest import AUDIENCE, ISSUER, TokenMaker
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.test_servicer import (
    PERMISSIONS,
    chat,
    read,
    reason,
    refusal,
    wait_until_free,
    with_tools,
)
from tests.running_auth import RunningAuth, bearer, running_auth

# From the answer to RevokeKey to the end of the stream.
SECONDS = 1.0


@dataclass
class Platform:
    """A running inference service that follows a running auth service."""

    auth: RunningAuth
    inference: InferenceProcess
    health: list[bool]


Start = Callable[[ScriptedEngine], Any]


@pytest.fixture
def platform(tmp_path: Path, identity: Callable[[str], TlsFiles], replica: Replica) -> Start:
    @asynccontextmanager
    async def start(engine: ScriptedEngine) -> AsyncIterator[Platform]:
        async with AsyncExitStack() as stack:
            auth = await stack.enter_async_context(running_auth(tmp_path, identity))
            channel = await stack.enter_async_context(
                open_channel(
                    auth.address, tls=identity("inference"), service="auth", trust_domain="parley.local"
                )
            )
            verifier = JwksVerifier(remote_keys(channel), issuer=ISSUER, audience=AUDIENCE)
            revocations, health = Revocations(), list[bool]()

            async def report(dependency: str, *, answers: bool) -> None:
                assert dependency == HEALTH_NAME
                health.append(answers)

            await stack.enter_async_context(RevocationFeed(channel, revocations, report).following())
            process = await stack.enter_async_context(
                replica(engine, verifier=verifier, revocations=revocations)
            )
            yield Platform(auth, process, health)

    return start


async def test_a_revoked_key_ends_its_chats_and_frees_their_slots(platform: Start) -> None:
    gate = Gate()
    engine = ScriptedEngine([ContentDelta("Once"), gate])
    async with platform(engine) as running:
        key_id, metadata = await running.auth.key()
        call = running.inference.stub.Chat(chat(), metadata=metadata)
        await gate.reached.wait()
        await running.auth.revoke(key_id)
        async with asyncio.timeout(SECONDS):
            events = await read(call)
            await wait_until_free(engine, running.inference.runs)
        assert reason(events) == "REVOKED"
        assert events[-2].usage.completion_tokens == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(running.inference.stub.Chat(chat(), metadata=metadata))
        assert refusal(refused.value) == ("TOKEN_REVOKED", {})
        assert running.health == [False, True]


async def test_a_chat_of_another_key_goes_on(platform: Start) -> None:
    gates = Gate(), Gate()
    engine = ScriptedEngine([gates[0]], [gates[1], ContentDelta("more"), TurnEnd(StopReason.STOP)])
    async with platform(engine) as running:
        key_id, metadata = await running.auth.key()
        _, others = await running.auth.key()
        call = running.inference.stub.Chat(chat(), metadata=metadata)
        await gates[0].reached.wait()
        other = running.inference.stub.Chat(chat(), metadata=others)
        await gates[1].reached.wait()
        await running.auth.revoke(key_id)
        assert reason(await read(call)) == "REVOKED"
        gates[1].open.set()
        assert reason(await read(other)) == "STOP"


async def test_a_revoked_key_ends_the_tools_of_its_chat(
    replica: Replica, tokens: TokenMaker, tools_process: ToolsProcess
) -> None:
    engine, revocations = (
        ScriptedEngine(calls(ToolCall("call-1", "slow", "{}"))),
        Revocations(synchronized=True),
    )
    async with replica(engine, revocations=revocations) as process, asyncio.timeout(20):
        call = process.stub.Chat(with_tools(), metadata=tokens.metadata(*PERMISSIONS, key_id="key-1"))
        await tools_process.service.started.wait()
        now = datetime.now(UTC)
        revocations.add(Revocation(Subject(REVOCATION_KIND_KEY, "key-1"), now, now + timedelta(hours=1)))
        events = await read(call)
        await tools_process.service.ended.wait()
    assert reason(events) == "REVOKED"


async def test_a_session_that_ends_ends_its_chats(platform: Start) -> None:
    gate = Gate()
    async with platform(ScriptedEngine([gate])) as running:
        tokens = await running.auth.login()
        call = running.inference.stub.Chat(chat(), metadata=bearer(tokens.access_token))
        await gate.reached.wait()
        await running.auth.end_login(tokens.refresh_token)
        async with asyncio.timeout(SECONDS):
            assert reason(await read(call)) == "REVOKED"


async def test_a_chat_that_is_revoked_before_it_begins_is_refused(platform: Start) -> None:
    engine = ScriptedEngine()
    engine.rendering = Gate()
    async with platform(engine) as running:
        key_id, metadata = await running.auth.key()
        call = running.inference.stub.Chat(chat(), metadata=metadata)
        await engine.rendering.reached.wait()
        await running.auth.revoke(key_id)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async with asyncio.timeout(SECONDS):
                await read(call)
        assert refusal(refused.value) == ("TOKEN_REVOKED", {})
        assert len(running.inference.runs) == 0
