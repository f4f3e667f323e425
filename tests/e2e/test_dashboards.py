"""Each panel of the dashboards shows something of a platform that is used, in a real Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from parley.auth.v1.quota_pb2 import Quota, QuotaLimits, QuotaSubject
from parley.inference.v1.rollout_pb2 import RolloutVariant
from parley.inference.v1.rollout_service_pb2 import CreateRolloutRequest
from parley_client.client import Client, question
from parley_client.credentials import ApiKey
from parley_client.errors import ParleyError
from parley_client.stream import EventStream
from tests.deploy.queries import shown
from tests.platform import Stack
from tests.prometheus import PROGRAM, Prometheus, running_prometheus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PROGRAM is None, reason="issue 6: no Prometheus here; deploy/setup.sh --dev brings Debian's"
    ),
]

PATIENCE_SECONDS = 120
WINDOW = "1m"
QUESTION = "What is 17 * 23?"


@pytest.fixture
async def spent(stack: Stack, admin: Client) -> AsyncIterator[Client]:
    """A client whose key may ask for nothing."""
    made = await admin.create_key("spent")
    subject = QuotaSubject(key_id=made.key.key_id)
    nothing = QuotaLimits(requests_per_minute=0)
    await admin.administration.set_quota(Quota(subject=subject, limits=nothing))
    async with stack.client(ApiKey(made.secret)) as client:
        yield client
    await admin.administration.delete_quota(subject)
    await admin.revoke_key(made.key.key_id)


@pytest.fixture
async def alias(admin: Client) -> AsyncIterator[str]:
    """An alias with a variant to try."""
    model = (await admin.list_models())[0].name
    variants = [RolloutVariant(name=name, model=model, weight=50) for name in ("plain", "candidate")]
    yield (await admin.rollouts.create(CreateRolloutRequest(name="tried", variants=variants))).name
    await admin.rollouts.delete("tried")


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path, stack.settings) as running:
        yield running


async def test_each_panel_shows_something(
    program: Client, spent: Client, alias: str, prometheus: Prometheus
) -> None:
    """Nothing is left out: where nothing happened, or failed, that is a number too."""
    missing = shown(WINDOW)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while missing:
                await use(program, spent, alias)
                missing = {where: query for where, query in missing.items() if not prometheus.shows(query)}
    assert not missing


async def use(program: Client, spent: Client, alias: str) -> None:
    """Some of all that panels are about."""
    async with program.chat(question(QUESTION, model=alias)) as events:
        answered = [event async for event in events]
    assert any(event.HasField("tool_result") for event in answered)
    async with program.chat(question(QUESTION)) as events:
        await program.cancel((await anext(events)).started.run_id)
        assert [event async for event in events]
    assert await refusal(program.execute("calculator", '{"expression": "1 / 0"}')) == "EXPRESSION_INVALID"
    assert await refusal(spent.chat(question(QUESTION))) == "RATE_LIMITED"
    with suppress_unknown_run():
        await program.rollouts.give_feedback(answered[0].started.run_id, good=True)


async def refusal(events: EventStream[Any]) -> str:
    """The reason for which a call fails."""
    with pytest.raises(ParleyError) as refused:
        async with events:
            assert [event async for event in events]
    return refused.value.reason


@contextmanager
def suppress_unknown_run() -> Iterator[None]:
    """A run is known to all a beat after it began, so another round of calls is needed."""
    try:
        yield
    except ParleyError as error:
        if error.reason != "RUN_NOT_FOUND":
            raise
