"""A person and a program that use the whole platform."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from parley_client.client import Client
from parley_client.credentials import ApiKey
from tests.platform import Stack


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Client]:
    async with await stack.admin() as client:
        yield client


@pytest.fixture
async def key(admin: Client) -> AsyncIterator[str]:
    """The secret of an API key that may do whatever its owner may."""
    made = await admin.create_key("e2e")
    yield made.secret
    await admin.revoke_key(made.key.key_id)


@pytest.fixture
async def program(stack: Stack, key: str) -> AsyncIterator[Client]:
    """A client that shows an API key."""
    async with stack.client(ApiKey(key)) as client:
        yield client
