"""The key under which replicas seal the places in lists, so that they can read each other's."""

from __future__ import annotations

import secrets

from redis.asyncio import Redis
from redis.exceptions import RedisError

NAME = "parley:inference:page-key"
KEY_BYTES = 32


async def shared_page_key(store: Redis) -> bytes:
    """The key that the replicas at this store have in common, made by whichever asks first.

    While the store does not answer a replica has a key of its own: then a list
    is to be begun again where its next page is asked of another replica.
    """
    own = secrets.token_bytes(KEY_BYTES)
    try:
        await store.set(NAME, own, nx=True)
        kept = await store.get(NAME)
    except RedisError:
        return own
    return kept if isinstance(kept, bytes) and len(kept) == KEY_BYTES else own
