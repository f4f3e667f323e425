from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.inference.merging import AHEAD, merged


class Stream:
    """Gives these items, then waits for ever or fails, and notes that it was closed."""

    def __init__(self, *items: str, end: Exception | None = None, waits: bool = False) -> None:
        self.items = items
        self.end = end
        self.waits = waits
        self.given = 0
        self.closed = asyncio.Event()

    async def read(self) -> AsyncGenerator[str, None]:
        try:
            for item in self.items:
                self.given += 1
                yield item
            if self.waits:
                await asyncio.Event().wait()
            if self.end is not None:
                raise self.end
        finally:
            self.closed.set()


async def test_all_items_come_each_streams_in_its_order() -> None:
    streams = Stream("a1", "a2"), Stream("b1"), Stream()
    items = [item async for item in merged([stream.read() for stream in streams])]
    assert sorted(items) == ["a1", "a2", "b1"]
    assert items.index("a1") < items.index("a2")


async def test_nothing_merged_is_nothing() -> None:
    assert [item async for item in merged([])] == []


async def test_one_that_waits_does_not_hold_up_the_others() -> None:
    waiting, quick = Stream(waits=True), Stream("b")
    items = merged([waiting.read(), quick.read()])
    assert await asyncio.wait_for(anext(items), 5) == "b"
    await items.aclose()
    assert waiting.closed.is_set()


async def test_a_failure_is_raised_and_closes_the_others() -> None:
    waiting = Stream(waits=True)
    items = merged([waiting.read(), Stream(end=RuntimeError("no")).read()])
    with pytest.raises(RuntimeError, match="no"):
        await anext(items)
    assert waiting.closed.is_set()


async def test_a_slow_reader_holds_the_streams_back() -> None:
    stream = Stream(*map(str, range(100)))
    items = merged([stream.read()])
    await anext(items)
    for _ in range(100):  # the stream's task has every chance to run ahead
        await asyncio.sleep(0)
    assert stream.given <= AHEAD + 2
    await items.aclose()
