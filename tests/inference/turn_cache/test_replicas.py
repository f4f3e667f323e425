"""The cache as clients see it: two replicas over mTLS gRPC, one store."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from redis.asyncio import Redis

from parley.inference.v1 import chat_pb2, completion_pb2, inference_service_pb2
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.metrics import TURNS
from services.ledger.ledger import Ledger
from services.ledger.limits import Account, Dimension, Rule, Terms
from tests.conftest import TokenMaker
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.scripted import NoLimits
from tests.inference.test_servicer import chat, kinds, read, reason, refusal
from tests.inference.turn_cache.conftest import Caches
from tests.inference.turn_cache.speaking import SpeakingEngine

PERMISSIONS = ("inference.chat", "models.*")
GREEDY = chat_pb2.SamplingOptions(temperature=0)
ON = chat_pb2.CacheOptions(mode=chat_pb2.CACHE_MODE_ON)
OFF = chat_pb2.CacheOptions(mode=chat_pb2.CACHE_MODE_OFF)
# The scripted call of the engine is not for the platform to make.
END = chat_pb2.RunLimits(max_tool_rounds=0)

Events = list[chat_pb2.ChatEvent]


class Pair:
    """Two replicas and their engines."""

    def __init__(
        self, engines: list[SpeakingEngine], caches: list[TurnCache], processes: list[InferenceProcess]
    ) -> None:
        self.engines = engines
        self.caches = caches
        self.processes = processes

    @property
    def begun(self) -> int:
        return sum(engine.begun for engine in self.engines)

    async def landed(self) -> None:
        """Return once what was said is kept."""
        for cache in self.caches:
            await cache.wait_until_landed()

    async def ask(self, at: int, metadata: Any, text: str = "Hi", **fields: Any) -> Events:
        fields.setdefault("sampling", GREEDY)
        # What is compared is each chunk, and so many streams at once would be gathered.
        fields.setdefault("max_event_delay", duration_pb2.Duration())
        call = self.processes[at].stub.Chat(chat(text, limits=END, **fields), metadata=metadata)
        return await read(call)

    def open(self, at: int, metadata: Any) -> Any:
        return self.processes[at].stub.Chat(chat(sampling=GREEDY, limits=END), metadata=metadata)


@pytest.fixture
async def pair(replica: Replica, caches: Caches) -> AsyncIterator[Pair]:
    async with pair_of(replica, caches) as made:
        yield made


def pair_of(replica: Replica, caches: Caches, **options: Any) -> Any:
    return _Opening(replica, caches, options)


class _Opening(AsyncExitStack):
    """Opens two replicas; closes them with itself."""

    def __init__(self, replica: Replica, caches: Caches, options: dict[str, Any]) -> None:
        super().__init__()
        self._arguments = replica, caches, options

    async def __aenter__(self) -> Any:
        replica, caches, options = self._arguments
        engines = [SpeakingEngine(), SpeakingEngine()]
        shared = [await caches() for _ in engines]
        processes = [
            await self.enter_async_context(replica(engine, cache=cache, **options))
            for engine, cache in zip(engines, shared, strict=True)
        ]
        return Pair(engines, shared, processes)


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


def said(events: Events) -> list[tuple[str, str]]:
    """What was said, chunk by chunk, calls by their ids."""
    return [(kind, str(event)) for kind, event in spoken(events)]


def spoken(events: Events) -> list[tuple[str, Any]]:
    known = ("reasoning_delta", "content_delta", "tool_call_delta")
    return [(kind, getattr(event, kind)) for event in events if (kind := event.WhichOneof("event")) in known]


def cache_of(events: Events) -> str:
    return chat_pb2.CacheState.Name(events[0].started.cache).removeprefix("CACHE_STATE_")


def usage_of(events: Events) -> chat_pb2.Usage:
    return next(event.usage for event in reversed(events) if event.WhichOneof("event") == "usage")


async def test_of_1000_requests_with_100_distinct_ones_900_are_answered_without_the_engine(
    pair: Pair, metadata: Any
) -> None:
    trace = [f"question {number % 100}" for number in range(1000)]
    random.Random(5).shuffle(trace)  # noqa: S311 - a mixed order, no secret
    before = counted()
    for engine in pair.engines:
        engine.brief = True
    room = asyncio.Semaphore(32)

    async def ask(number: int, text: str) -> Events:
        async with room:
            return await pair.ask(number % 2, metadata, text)

    answers = await asyncio.gather(*(ask(*each) for each in enumerate(trace)))
    states = Counter(cache_of(events) for events in answers)
    print(f"{dict(states)}, turns generated: {pair.begun}")
    assert pair.begun == states["MISS"] == 100
    assert states["HIT"] + states["SHARED"] == 900
    by_text: dict[str, set[str]] = {}
    for text, events in zip(trace, answers, strict=True):
        by_text.setdefault(text, set()).add(str(said(events)))
    assert {len(different) for different in by_text.values()} == {1}
    assert counted() - before == Counter(miss=100, hit=states["HIT"], shared=states["SHARED"])


def counted() -> Counter[str]:
    """What the metrics have counted by now."""
    names = ("unused", "miss", "hit", "shared")
    return Counter({name: int(TURNS.labels("scripted", name)._value.get()) for name in names})


async def test_64_identical_requests_at_once_on_two_replicas_cost_one_generation(
    pair: Pair, metadata: Any
) -> None:
    answers = await asyncio.gather(*(pair.ask(number % 2, metadata) for number in range(64)))
    assert pair.begun == 1
    assert len({str(said(events)) for events in answers}) == 1
    generated = [events for events in answers if usage_of(events).reused_completion_tokens == 0]
    assert [cache_of(events) for events in generated] == ["MISS"]


async def test_a_replay_is_the_same_but_for_what_tells_that_it_is_one(pair: Pair, metadata: Any) -> None:
    first = await pair.ask(0, metadata)
    await pair.landed()
    again = await pair.ask(1, metadata)
    assert kinds(first) == kinds(again)
    assert said(first) == said(again)
    assert (cache_of(first), cache_of(again)) == ("MISS", "HIT")
    assert (usage_of(first).reused_completion_tokens, usage_of(again).reused_completion_tokens) == (0, 11)
    told = usage_of(again)
    told.ClearField("reused_completion_tokens")
    assert told == usage_of(first)
    assert reason(first) == reason(again)


async def test_a_request_says_whether_it_wants_the_cache(pair: Pair, metadata: Any) -> None:
    warm = chat_pb2.SamplingOptions(temperature=0.8)
    wishes = ((GREEDY, OFF), (GREEDY, OFF), (warm, None), (warm, ON), (warm, ON), (warm, None))
    answers = [await pair.ask(0, metadata, sampling=sampling, cache=cache) for sampling, cache in wishes]
    assert [cache_of(events) for events in answers] == ["UNUSED"] * 3 + ["MISS", "HIT", "UNUSED"]


async def test_a_completion_says_so_too(pair: Pair, metadata: Any) -> None:
    states = []
    for cache in (None, None, OFF):
        asked = completion_pb2.CompleteRequest(text="Once", sampling=GREEDY, cache=cache)
        states += [cache_of(await read(pair.processes[0].stub.Complete(asked, metadata=metadata)))]
        await pair.landed()
    assert states == ["MISS", "HIT", "UNUSED"]


async def test_tenants_share_nothing_and_users_of_one_do(pair: Pair, tokens: TokenMaker) -> None:
    callers = ({}, {"user_id": "user-2"}, {"tenant_id": "tenant-2"})
    answers = [await pair.ask(0, tokens.metadata(*PERMISSIONS, **caller)) for caller in callers]
    assert [cache_of(events) for events in answers] == ["MISS", "HIT", "MISS"]


async def test_an_operator_purges_a_model_for_the_own_tenant(pair: Pair, tokens: TokenMaker) -> None:
    mine = tokens.metadata(*PERMISSIONS)
    theirs = tokens.metadata(*PERMISSIONS, tenant_id="tenant-2")
    for metadata in (mine, theirs):
        await pair.ask(0, metadata)
    await pair.landed()
    request = inference_service_pb2.PurgeCacheRequest(model="scripted")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pair.processes[0].stub.PurgeCache(request, metadata=mine)
    assert refusal(refused.value)[0] == "PERMISSION_MISSING"
    operator = tokens.metadata("inference.cache.purge", "models.*")
    purged = await pair.processes[1].stub.PurgeCache(request, metadata=operator)
    assert purged.deleted_turns == 1
    assert [cache_of(await pair.ask(0, metadata)) for metadata in (mine, theirs)] == ["MISS", "HIT"]


async def test_a_purge_of_no_model_that_there_is_is_refused(pair: Pair, tokens: TokenMaker) -> None:
    operator = tokens.metadata("inference.cache.purge", "models.*")
    request = inference_service_pb2.PurgeCacheRequest(model="unheard-of")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pair.processes[0].stub.PurgeCache(request, metadata=operator)
    assert refusal(refused.value)[0] == "MODEL_NOT_FOUND"


async def test_a_client_that_leaves_takes_nothing_from_the_others(pair: Pair, metadata: Any) -> None:
    pair.engines[0].holds_at = 4
    leaving = pair.open(0, metadata)
    await leaving.read()
    await pair.engines[0].reached.wait()
    staying = asyncio.create_task(pair.ask(0, metadata))
    elsewhere = pair.open(1, metadata)
    while (response := await elsewhere.read()).event.WhichOneof("event") != "content_delta":
        pass
    assert response is not grpc.aio.EOF
    leaving.cancel()
    pair.engines[0].released.set()
    events = await staying
    assert reason(events) == reason(await read(elsewhere)) == "ROUND_LIMIT"
    assert pair.begun == 1


async def test_whose_budget_ends_stops_alone_at_the_token(
    replica: Replica, caches: Caches, metadata: Any, store: Redis
) -> None:
    await Ledger(store).mark_ready()
    limits = NoLimits(terms(5 + 2))
    async with (
        replica(SpeakingEngine(), cache=await caches()) as rich,
        replica(SpeakingEngine(), limits=limits, cache=await caches()) as poor,
    ):
        request = chat(sampling=GREEDY, limits=END)
        whole = await read(rich.stub.Chat(request, metadata=metadata))
        cut = await read(poor.stub.Chat(request, metadata=metadata))
    assert (reason(whole), reason(cut)) == ("ROUND_LIMIT", "BUDGET")
    assert said(cut) == said(whole)[:5]
    assert usage_of(cut).completion_tokens == usage_of(cut).reused_completion_tokens == 5


def terms(tokens: int) -> Terms:
    """A budget of so many tokens for the month."""
    return Terms((Account("poor", {Dimension.TOKENS_PER_MONTH: Rule(tokens, "user/ada")}),))
