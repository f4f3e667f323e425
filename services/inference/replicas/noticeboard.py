"""What replicas tell each other by the store: notices in one hash, each with a time until which it holds."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, cast

from google.protobuf.message import Message
from redis.asyncio import Redis

from services.ledger.ledger import awaited

LIFE_SECONDS = 10.0
MOST_ENTRIES = 1000
MOST_ENTRY_BYTES = 4096

# When it is over, in seconds of the store's clock; the notice follows.
_UNTIL = struct.Struct(">d")


class Noticeboard:
    """One hash. Fields begin with the replica that wrote them."""

    def __init__(self, name: str) -> None:
        """Use the hash of this name."""
        self._name = name
        self._up: set[str] = set()

    async def exchange(self, store: Redis, notices: Mapping[str, Message]) -> dict[str, bytes]:
        """Put these notices up, and give all that hold, by field and in its order.

        What is over is taken down, and so is what was put up here before and is no longer among these.

        Raises:
            RedisError: The store does not answer.
        """
        seconds, micros = await store.time()
        now = seconds + micros / 1e6
        until = _UNTIL.pack(now + LIFE_SECONDS)
        put = {field: until + notice.SerializeToString() for field, notice in notices.items()}
        self._up |= put.keys()
        await awaited(store.hset(self._name, mapping=cast("Any", put)))
        found = await awaited(store.hgetall(self._name))
        dropped = {field.encode() for field in self._up - put.keys()}
        over = [field for field, entry in found.items() if field in dropped or _is_over(entry, now)]
        if over:
            await awaited(store.hdel(self._name, *over))
        self._up = set(put)
        held = sorted((field, entry) for field, entry in found.items() if field not in over)
        return {field.decode(errors="replace"): entry[_UNTIL.size :] for field, entry in held[:MOST_ENTRIES]}

    async def withdraw(self, store: Redis) -> None:
        """Take down all that was put up here.

        Raises:
            RedisError: The store does not answer.
        """
        if self._up:
            await awaited(store.hdel(self._name, *self._up))


def _is_over(entry: bytes, now: float) -> bool:
    """Whether an entry holds no longer; one that is none never did."""
    if not _UNTIL.size < len(entry) <= MOST_ENTRY_BYTES:
        return True
    (until,) = _UNTIL.unpack_from(entry)
    return not now < until <= now + 2 * LIFE_SECONDS
