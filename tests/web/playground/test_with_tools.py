"""The playground's calls in front of the tools service itself."""

from __future__ import annotations

import asyncio

from parley_client.client import Client
from parley_client.credentials import ApiKey
from services.rpc.channel import open_channel
from services.tools.workers import WorkerPool
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity
from tests.tools.conftest import (  # noqa: F401  # fixtures
    Service,
    make_runner,
    pool,
    serve,
    service,
    workspaces,
)
from tests.tools.test_workers import gone
from web.card import CallState
from web.playground.trial import Trial
from web.run import Run

WAIT_SECONDS = 30


async def test_cancel_ends_the_tool_s_process(
    service: Service,  # noqa: F811
    pool: WorkerPool,  # noqa: F811
    identity: Identity,
    tokens: TokenMaker,
) -> None:
    address = f"127.0.0.1:{service.port}"
    channel = open_channel(address, tls=identity("edge"), service="tools", trust_domain="parley.local")
    async with Client(channel, ApiKey(tokens.token(tokens.principal("tools.*")))) as client:
        trial = Run("waiting", Trial("waiting"), client.execute("waiting", "{}"))
        async with asyncio.timeout(WAIT_SECONDS):
            async for seen in trial.pictures():
                if seen.output:
                    break
        await trial.stop()
        await gone(int(trial.answer.output))
    assert trial.answer.state is CallState.STOPPED
    assert pool.pids == set()
