"""A pool's adapters at one replica, where the store, the engine or a caller goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.inference.adapters.pool import AdapterPool
from services.inference.adapters.port import Adapter
from services.inference.adapters.shelf import Shelf
from services.inference.adapters.wishes import PREFIX, Wishes
from services.inference.models import Models
from services.ledger.ledger import open_store
from services.rpc.errors import DependencyUnavailable
from tests.inference.adapters.made import make_adapter, pair
from tests.inference.scripted import Gate, ScriptedEngine, ScriptedHost

SECONDS = 15


class SlowHost(ScriptedHost):
    """Takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def add(self, adapter: Adapter) -> None:
        await super().add(adapter)
        await self.gate.wait()


def pool(engine: ScriptedEngine, shelf: Shelf, store: Redis) -> AdapterPool:
    models = Models("scripted")
    models.ready("scripted", engine)
    return AdapterPool("scripted", models, shelf, Wishes(store, "scripted"))


async def forgotten(host: ScriptedHost, held: int) -> None:
    async with asyncio.timeout(SECONDS):
        while len(host.held) > held:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(0)


async def test_without_the_store_nothing_changes(engine: ScriptedEngine, shelf: Shelf, store: Redis) -> None:
    assert engine.adapter_host is not None
    async with open_store("redis://127.0.0.1:1/0") as nowhere:
        away = pool(engine, shelf, nowhere)
        with pytest.raises(DependencyUnavailable):
            await away.load("polite")
        assert away.loaded == []
        await forgotten(engine.adapter_host, 0)
        with pytest.raises(DependencyUnavailable):
            await away.unload("polite")
        with pytest.raises(DependencyUnavailable):
            await away.follow()


async def test_a_load_that_nobody_waits_for_leaves_nothing(
    engine: ScriptedEngine, shelf: Shelf, store: Redis
) -> None:
    host = engine.adapter_host = SlowHost()
    here = pool(engine, shelf, store)
    loading = asyncio.ensure_future(here.load("polite"))
    await host.gate.reached.wait()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await forgotten(host, 0)
    assert await Wishes(store, "scripted").all() == {}


async def test_what_finds_no_place_is_loaded_as_soon_as_there_is_one(
    engine: ScriptedEngine, shelf: Shelf, store: Redis, folder: Path
) -> None:
    here, other = pool(engine, shelf, store), pool(another := ScriptedEngine(), shelf, store)
    host = another.adapter_host = ScriptedHost()
    for name in ("polite", "brief"):
        await here.load(name)
    await other.follow()
    brief = next(each for each in other.loaded if each.files.name == "brief")
    with brief.engine.run():
        make_adapter(folder / "polite", pair(value=2.0))
        await here.unload("brief")
        await here.load("polite")
        await other.follow()
        assert (other.failed, len(other.loaded)) == ({"polite"}, 0)
        await forgotten(host, 1)
        await other.follow()
        assert (other.failed, len(other.loaded), len(host.held)) == (frozenset(), 1, 2)
    await forgotten(host, 1)


async def test_wishes_that_nobody_of_us_wrote_are_passed_over(store: Redis) -> None:
    revision = "0123456789abcdef"
    key = f"{PREFIX}scripted"
    odd = {"../up": revision, "polite": "x", "brief": revision, b"\xff": revision}
    await store.hset(key, mapping=odd)  # type: ignore[misc,arg-type]
    assert await Wishes(store, "scripted").all() == {"brief": revision}
