"""Budgets in mid-stream: many streams, one and two replicas, a replica that is killed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from redis.asyncio import Redis
from ulid import ULID

from cli.local.preflight import free_port
from parley.auth.v1 import usage_pb2
from parley.inference.v1 import chat_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from services.inference.engine.turn import ToolCall
from services.ledger.ledger import USAGE, Ledger
from services.ledger.limits import Dimension
from services.rpc.channel import open_channel
from services.rpc.errors import error_info, status_of
from tests.conftest import TokenMaker
from tests.inference.endless import LEASE_SECONDS, SLICE, EndlessEngine, FixedLimits, ReplicaOrder, terms
from tests.inference.replicas import Identity, Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.talk import Talk
from tests.inference.test_servicer import chat, read, with_tools

STREAMS = 200
PERMISSIONS = ("inference.chat", "models.*", "tools.list", "tools.execute")
SUM = ToolCall("call-1", "calculator", "{}")


@pytest.fixture
def account() -> str:
    """An account that no other test counts in."""
    return f"user/{ULID()}"


@pytest.fixture
async def ledger(store: Redis) -> Ledger:
    ledger = Ledger(store)
    await ledger.mark_ready()
    return ledger


@dataclass
class Outcome:
    """How a call ended, and what it brought."""

    delivered: int = 0
    usage: chat_pb2.Usage = field(default_factory=chat_pb2.Usage)
    end: str = ""
    status: Any = None

    @property
    def charged(self) -> int:
        return self.usage.prompt_tokens + self.usage.completion_tokens

    def note(self, event: chat_pb2.ChatEvent) -> None:
        # Words and not events: many streams at once are gathered.
        self.delivered += len(event.content_delta.text.split())
        if event.HasField("usage"):
            self.usage = event.usage
        if event.HasField("finished"):
            self.end = chat_pb2.FinishReason.Name(event.finished.reason).removeprefix("FINISH_REASON_")
            self.status = event.finished.error


async def ask(stub: Any, metadata: Any, request: chat_pb2.ChatRequest | None = None) -> Outcome:
    outcome = Outcome()
    call = stub.Chat(request or chat(), metadata=metadata)
    try:
        while (response := await call.read()) is not grpc.aio.EOF:
            outcome.note(response.event)
    except grpc.aio.AioRpcError as error:
        outcome.status = status_of(error)
        info = error_info(outcome.status)
        outcome.end = info.reason if info is not None else error.code().name
    return outcome


async def used(ledger: Ledger, account: str, **limits: int) -> dict[Dimension, int]:
    standings = await ledger.standings(terms(account, **limits))
    return {standing.dimension: standing.limit - standing.left for standing in standings}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("budget", [3001, 6007])
async def test_a_race_for_a_budget_uses_exactly_the_budget(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str, replicas: int, budget: int
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=budget))
    engines = [EndlessEngine() for _ in range(replicas)]
    metadata = tokens.metadata(*PERMISSIONS)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(replica(engine, limits)) for engine in engines]
        stubs = [processes[number % replicas].stub for number in range(STREAMS)]
        outcomes = await asyncio.gather(*(ask(stub, metadata) for stub in stubs))
    ends = Counter(outcome.end for outcome in outcomes)
    assert set(ends) <= {"BUDGET", "BUDGET_EXHAUSTED"}
    assert ends["BUDGET"] > 0
    assert sum(outcome.charged for outcome in outcomes) == budget
    assert sum(outcome.delivered for outcome in outcomes) == sum(o.usage.completion_tokens for o in outcomes)
    assert any(outcome.usage.completion_tokens % SLICE for outcome in outcomes), "the last grant is partial"
    assert await used(ledger, account, tokens_per_day=budget) == {Dimension.TOKENS_PER_DAY: budget}
    assert [engine.most_beyond for engine in engines] == [0] * replicas


async def test_a_budget_ends_a_stream_in_the_middle_with_exact_usage(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str, store: Redis
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=47))
    async with replica(EndlessEngine(), limits) as process:
        metadata = tokens.metadata(*PERMISSIONS)
        outcome = await ask(process.stub, metadata)
        refused = await ask(process.stub, metadata)
    assert (outcome.end, outcome.delivered, outcome.charged) == ("BUDGET", 37, 47)
    assert refused.end == "BUDGET_EXHAUSTED"
    failure, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(failure) for detail in refused.status.details)
    assert any(detail.Unpack(retry) for detail in refused.status.details)
    assert failure.violations[0].quota_metric == "tokens_per_day"
    ((_, entry),) = await store.xrevrange(USAGE, count=1)
    record = usage_pb2.UsageRecord.FromString(entry[b"record"])
    assert (record.prompt_tokens, record.completion_tokens, record.requests) == (10, 37, 1)


async def test_each_turn_of_a_conversation_is_under_a_lease_of_its_own(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str, store: Redis
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=47, concurrent_streams=1))
    async with replica(EndlessEngine(), limits) as process:
        talk = Talk(process.stub, tokens.metadata(*PERMISSIONS))
        await talk.set_up(server_tools={})
        await talk.say("Hello", "Hello?")
        assert await talk.finish() == "BUDGET"
        assert await talk.refused() == (3, "BUDGET_EXHAUSTED")
        assert await talk.hang_up() is grpc.aio.EOF
    assert await used(ledger, account, tokens_per_day=47, concurrent_streams=1) == {
        Dimension.TOKENS_PER_DAY: 47,
        Dimension.CONCURRENT_STREAMS: 0,
    }
    ((_, entry),) = await store.xrevrange(USAGE, count=1)
    record = usage_pb2.UsageRecord.FromString(entry[b"record"])
    assert (record.prompt_tokens, record.completion_tokens, record.requests) == (10, 37, 1)


async def test_the_turns_of_a_run_are_under_one_lease(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=45))
    engine = ScriptedEngine(calls(SUM), calls(SUM), says("Never said."))
    async with replica(engine, limits) as process:
        outcome = await ask(process.stub, tokens.metadata(*PERMISSIONS), with_tools())
    # 10 and 4 tokens for the first turn, 30 for the second's prompt and its only token.
    assert (outcome.end, outcome.usage.prompt_tokens, outcome.usage.completion_tokens) == ("BUDGET", 40, 5)
    assert await used(ledger, account, tokens_per_day=45) == {Dimension.TOKENS_PER_DAY: 45}


async def test_a_turn_whose_prompt_is_not_paid_for_is_not_begun(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=44))
    engine = ScriptedEngine(calls(SUM), says("Never said."))
    async with replica(engine, limits) as process:
        outcome = await ask(process.stub, tokens.metadata(*PERMISSIONS), with_tools())
    assert (outcome.end, outcome.charged, len(engine.budgets)) == ("BUDGET", 14, 1)
    assert await used(ledger, account, tokens_per_day=44) == {Dimension.TOKENS_PER_DAY: 14}


async def test_a_cancelled_run_is_counted_once_with_what_it_said(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=1000, concurrent_streams=1))
    gate = Gate()
    engine = ScriptedEngine([*says("a", "b", "c")[:-1], gate], says("again"))
    async with replica(engine, limits) as process:
        metadata = tokens.metadata(*PERMISSIONS)
        call = process.stub.Chat(chat(), metadata=metadata)
        await asyncio.wait_for(gate.reached.wait(), 5)
        assert (await ask(process.stub, metadata)).end == "RATE_LIMITED"
        call.cancel()
        async with asyncio.timeout(5):
            while (await used(ledger, account, concurrent_streams=1))[Dimension.CONCURRENT_STREAMS]:
                pass
        assert await used(ledger, account, tokens_per_day=1000) == {Dimension.TOKENS_PER_DAY: 13}
        assert (await ask(process.stub, metadata)).end == "STOP"


async def test_what_is_left_comes_in_the_headers(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, account: str
) -> None:
    limits = FixedLimits(terms(account, requests_per_minute=2))
    async with replica(ScriptedEngine(), limits) as process:
        metadata = tokens.metadata(*PERMISSIONS)
        call = process.stub.Chat(chat(), metadata=metadata)
        headers = dict(await call.initial_metadata())
        await read(call)
        await ask(process.stub, metadata)
        refused = process.stub.Chat(chat(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused.read()
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("2", "1")
    assert headers["x-ratelimit-reset"] == "30"
    trailers = dict(caught.value.trailing_metadata() or ())
    assert trailers["x-ratelimit-remaining"] == "0"
    assert 1 <= int(str(trailers["retry-after"])) <= 30


async def test_without_limits_nothing_is_refused_and_all_is_recorded(
    replica: Replica, ledger: Ledger, tokens: TokenMaker, store: Redis
) -> None:
    async with replica(ScriptedEngine(calls(SUM), says("391."))) as process:
        metadata = tokens.metadata(*PERMISSIONS, key_id="key-1")
        outcome = await ask(process.stub, metadata, with_tools())
    ((_, entry),) = await store.xrevrange(USAGE, count=1)
    record = usage_pb2.UsageRecord.FromString(entry[b"record"])
    assert (record.prompt_tokens, record.completion_tokens) == (40, 6)
    assert (record.tool_calls, record.requests, record.model, record.key_id) == (1, 1, "scripted", "key-1")
    assert (record.cached_prompt_tokens, outcome.charged) == (8, 46)


@asynccontextmanager
async def killable(order: ReplicaOrder, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replica that serves; killed at the end if it was not before."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.inference.endless"),
            env=order.environment(),
            cwd=Path(__file__).parents[2],
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def follow(call: Any, outcome: Outcome, enough: int, going: asyncio.Barrier) -> None:
    """Read to the end, and say when there was enough."""
    try:
        while (response := await call.read()) is not grpc.aio.EOF:
            outcome.note(response.event)
            if outcome.delivered == enough and response.event.HasField("content_delta"):
                await going.wait()
    except grpc.aio.AioRpcError:
        outcome.end = "CUT"


async def test_a_killed_replica_charges_at_most_a_slice_beyond_what_it_delivered(
    identity: Identity, tokens: TokenMaker, ledger: Ledger, account: str, store_url: str, tmp_path: Path
) -> None:
    streams, enough = 16, 20
    limits = {"tokens_per_day": 1_000_000, "concurrent_streams": streams}
    tls = identity("inference")
    files = [str(tls.certificate), str(tls.private_key), str(tls.authority)]
    keys = tokens.keys.as_dict(private=False)
    order = ReplicaOrder(free_port(), files, dict(keys), store_url, account, limits, enough)
    outcomes = [Outcome() for _ in range(streams)]

    async with (
        killable(order, tmp_path / "log") as process,
        open_channel(
            f"127.0.0.1:{order.port}", tls=identity("edge"), service="inference", trust_domain="parley.local"
        ) as channel,
    ):
        stub = InferenceServiceStub(channel)
        going, metadata = asyncio.Barrier(streams + 1), tokens.metadata(*PERMISSIONS)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for outcome in outcomes:
                call = stub.Chat(chat(), metadata=metadata, wait_for_ready=True)
                group.create_task(follow(call, outcome, enough, going))
            await going.wait()
            process.kill()
            killed = time.monotonic()

    assert {outcome.end for outcome in outcomes} == {"CUT"}
    delivered = sum(10 + outcome.delivered for outcome in outcomes)
    charged = (await used(ledger, account, **limits))[Dimension.TOKENS_PER_DAY]
    assert delivered <= charged <= delivered + streams * SLICE
    async with asyncio.timeout(LEASE_SECONDS + 3):
        while (await used(ledger, account, **limits))[Dimension.CONCURRENT_STREAMS]:
            pass
    assert time.monotonic() - killed <= LEASE_SECONDS + 2
    expired = [lease for lease in await ledger.expired() if lease.terms.accounts[0].name == account]
    assert len(expired) == streams
    assert (await used(ledger, account, **limits))[Dimension.TOKENS_PER_DAY] == charged


async def test_a_store_that_goes_away_stops_budgets_at_their_grant_and_lets_rates_go_on(
    replica: Replica, tokens: TokenMaker, account: str
) -> None:
    limits = FixedLimits(terms(account, tokens_per_day=1000))
    async with replica(ScriptedEngine(), limits, ledger_url="redis://127.0.0.1:1/0") as process:
        metadata = tokens.metadata(*PERMISSIONS)
        assert (await ask(process.stub, metadata)).end == "QUOTA_UNAVAILABLE"
        limits.held_to = terms(account, requests_per_minute=2)
        ends = [(await ask(process.stub, metadata)).end for _ in range(3)]
    assert ends == ["STOP", "STOP", "RATE_LIMITED"]
