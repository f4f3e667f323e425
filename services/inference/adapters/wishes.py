"""Which adapters a base model is to have, as its pool's replicas tell each other by the store."""

from __future__ import annotations

import re
from collections.abc import Mapping

from redis.asyncio import Redis

from services.inference.adapters.shelf import NAME, REVISION_CHARACTERS
from services.inference.asking_store import asking_store
from services.ledger.ledger import awaited

PREFIX = "parley:inference:adapters:"

_REVISION = re.compile(rf"[0-9a-f]{{{REVISION_CHARACTERS}}}")


class Wishes:
    """The adapters that a base model is to have, by name, with their revisions.

    Every method raises `DependencyUnavailable` when the store does not answer.
    """

    def __init__(self, store: Redis, base_model: str) -> None:
        """Keep those of a base model in this store."""
        self._store = store
        self._key = PREFIX + base_model

    async def all(self) -> Mapping[str, str]:
        """All of them. What nobody of us can have written is passed over."""
        async with asking_store():
            found = await awaited(self._store.hgetall(self._key))
        told = {
            name.decode(errors="replace"): revision.decode(errors="replace")
            for name, revision in found.items()
        }
        return {
            name: revision
            for name, revision in sorted(told.items())
            if NAME.fullmatch(name) and _REVISION.fullmatch(revision)
        }

    async def add(self, name: str, revision: str) -> None:
        """Every replica is to have this adapter."""
        async with asking_store():
            await awaited(self._store.hset(self._key, name, revision))

    async def remove(self, name: str) -> None:
        """No replica is to have it."""
        async with asking_store():
            await awaited(self._store.hdel(self._key, name))
