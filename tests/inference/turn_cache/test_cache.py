"""Turns that are kept, on a real store, by replicas that are caches of one process."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from services.inference.engine.turn import Sampling
from services.inference.reading.step import TurnUsage
from services.inference.runs.order import CacheMode
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.limits import CacheLimits
from services.ledger.ledger import open_store
from tests.inference.turn_cache.conftest import Caches
from tests.inference.turn_cache.speaking import CARD, Asker, SpeakingEngine, turn, unmarked


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
