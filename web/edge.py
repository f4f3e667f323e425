"""The edge, as the page's server sees it: one channel for everyone, credentials of their own for each."""

from __future__ import annotations

import grpc

from parley_client.client import Client
from parley_client.credentials import Login, TokensInMemory


class Edge:
    """Makes clients for people who log in. Owns the channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call through this channel."""
        self._channel = channel
        self._anonymous = Client(channel)

    async def login(self, username: str, password: str) -> Client:
        """A client that calls for this person and renews its tokens by itself.

        Raises:
            ParleyError: The credentials are wrong, or the platform did not answer.
        """
        tokens = await self._anonymous.login(username, password)
        return Client(self._channel, Login(TokensInMemory(tokens), self._anonymous.refresh))

    async def close(self) -> None:
        """Close the channel; calls that still run are cancelled."""
        await self._channel.close()
