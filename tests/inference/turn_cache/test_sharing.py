"""A turn that several ask for at once is generated once, and ends with the last who wants it."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from services.inference.errors import EngineFailed
from tests.inference.turn_cache.conftest import Caches
from tests.inference.turn_cache.speaking import Asker, SpeakingEngine, unmarked


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
