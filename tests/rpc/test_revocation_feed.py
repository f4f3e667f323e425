"""The feed's client, against an auth service that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from parley.auth.v1 import revocation_service_pb2 as pb2
from parley.auth.v1.revocation_service_pb2_grpc import (
    RevocationServiceServicer,
    add_RevocationServiceServicer_to_server,
)
from services.rpc.channel import open_channel
from services.rpc.errors import DependencyUnavailable, TokenRevoked
from services.rpc.revocation_feed import HEALTH_NAME, RevocationFeed
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles
from tests.conftest import TokenMaker

SYNCHRONIZED = pb2.WatchRevocationsResponse(synchronized=pb2.Synchronized())


def revoked(user_id: str) -> pb2.WatchRevocationsResponse:
    event = pb2.WatchRevocationsResponse()
    event.revocation.kind = pb2.REVOCATION_KIND_USER
    event.revocation.subject_id = user_id
    now = datetime.now(UTC) + timedelta(seconds=1)
    event.revocation.revoke_time.FromDatetime(now)
    event.revocation.expire_time.FromDatetime(now + timedelta(minutes=15))
    return event


class ScriptedAuth(RevocationServiceServicer):
    """Each call gets the next script, and ends after it or, at a None, waits."""

    def __init__(self) -> None:
        self.scripts: asyncio.Queue[list[pb2.WatchRevocationsResponse | None]] = asyncio.Queue()

    async def WatchRevocations(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for event in await self.scripts.get():
            if event is None:
                await asyncio.Event().wait()
            yield event


@dataclass
class Follower:
    """A process that follows the scripted auth."""

    auth: ScriptedAuth
    revocations: Revocations
    feed: RevocationFeed
    said: list[bool] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def report(self, dependency: str, *, answers: bool) -> None:
        assert dependency == HEALTH_NAME
        self.said.append(answers)
        async with self.changed:
            self.changed.notify_all()

    async def has_said(self, *expected: bool) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.said == list(expected))


@pytest.fixture
async def follower(identity: Callable[[str], TlsFiles], tokens: TokenMaker) -> AsyncIterator[Follower]:
    tls, auth = identity("auth"), ScriptedAuth()
    settings = ServiceSettings(
        tls_certificate_path=tls.certificate,
        tls_private_key_path=tls.private_key,
        tls_authority_path=tls.authority,
        grace_seconds=0,
    )
    server = RpcServer(settings, tokens.verifier())
    server.add(add_RevocationServiceServicer_to_server, auth)
    port = await server.start()
    channel = open_channel(
        f"127.0.0.1:{port}", tls=identity("tools"), service="auth", trust_domain="parley.local"
    )
    revocations = Revocations()

    async def report(dependency: str, *, answers: bool) -> None:
        await follower.report(dependency, answers=answers)

    feed = RevocationFeed(channel, revocations, report, silence_seconds=0.5)
    follower = Follower(auth, revocations, feed)
    async with channel, feed.following():
        yield follower
    await server.stop()


async def test_what_auth_tells_is_known_and_shows_in_health_and_metrics(
    follower: Follower, tokens: TokenMaker
) -> None:
    caller = tokens.principal()
    follower.auth.scripts.put_nowait([revoked(caller.user_id), SYNCHRONIZED, None])
    await follower.has_said(False, True)
    with pytest.raises(TokenRevoked):
        await follower.revocations.check(caller)
    await follower.revocations.check(tokens.principal(user_id="another"))
    assert REGISTRY.get_sample_value("parley_revocations_known") == 1
    stale = REGISTRY.get_sample_value("parley_revocations_stale_seconds")
    assert stale is not None
    assert 0 <= stale < 5


async def test_a_silent_auth_is_called_again_and_nothing_is_lost(
    follower: Follower, tokens: TokenMaker
) -> None:
    caller = tokens.principal()
    follower.auth.scripts.put_nowait([SYNCHRONIZED, None])
    await follower.has_said(False, True)
    await follower.has_said(False, True, False)
    await follower.revocations.check(caller)  # tokens in hand go on
    follower.auth.scripts.put_nowait([revoked(caller.user_id), SYNCHRONIZED, None])
    await follower.has_said(False, True, False, True)
    assert follower.revocations.revoked(caller)


async def test_an_auth_that_ends_the_call_is_called_again(follower: Follower) -> None:
    for _ in range(2):
        follower.auth.scripts.put_nowait([SYNCHRONIZED])
    follower.auth.scripts.put_nowait([SYNCHRONIZED, None])
    await follower.has_said(False, True, False, True, False, True)
    assert follower.feed.stale_seconds < 5


async def test_until_all_was_told_no_token_is_taken(follower: Follower, tokens: TokenMaker) -> None:
    with pytest.raises(DependencyUnavailable):
        await follower.revocations.check(tokens.principal())
