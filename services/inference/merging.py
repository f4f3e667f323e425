"""Reads several streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TypeVar

from services.rpc.tasks import end_task

T = TypeVar("T")

AHEAD = 16
"""Items that may be read before somebody wants them."""


async def merged(streams: Iterable[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all streams as they come. Closing it closes them all; the first failure is raised."""
    items: asyncio.Queue[tuple[T, ...] | BaseException | None] = asyncio.Queue(AHEAD)
    readers = [asyncio.create_task(_read(stream, items)) for stream in streams]
    left = len(readers)
    try:
        while left:
            match await items.get():
                case None:
                    left -= 1
                case BaseException() as error:
                    raise error
                case (item,):
                    yield item
    finally:
        for reader in readers:
            reader.cancel()
        for reader in readers:
            await end_task(reader)


async def _read(
    stream: AsyncGenerator[T, None], items: asyncio.Queue[tuple[T, ...] | BaseException | None]
) -> None:
    """Pass a stream on, and at last None or what it failed with."""
    end: Exception | None = None
    try:
        async with aclosing(stream):
            async for item in stream:
                await items.put((item,))
    except Exception as error:
        end = error
    await items.put(end)
