"""Replicas read each other's page tokens."""

from __future__ import annotations

from redis.asyncio import Redis

from cli.local.preflight import free_port
from services.inference.page_key import KEY_BYTES, NAME, shared_page_key


async def test_replicas_at_one_store_have_one_key(store: Redis) -> None:
    assert await shared_page_key(store) == await shared_page_key(store)


async def test_what_is_no_key_is_not_used(store: Redis) -> None:
    await store.set(NAME, b"short")
    assert len(await shared_page_key(store)) == KEY_BYTES


async def test_without_a_store_a_replica_has_its_own() -> None:
    async with Redis(host="127.0.0.1", port=free_port()) as away:
        assert len(await shared_page_key(away)) == KEY_BYTES
