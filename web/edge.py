"""The edge, as the page's server sees it: one channel for everyone, credentials of their own for each."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from parley_client.client import Client
from parley_client.credentials import Login, TokensInMemory


@dataclass(frozen=True)
class LoggedIn:
    """A login that was let in.

    Attributes:
        client: Calls for the person, and renews its tokens by itself.
        must_change_password: Whether that is all that it may do at first.
    """

    client: Client
    must_change_password: bool


class Edge:
    """Makes clients for people who log in. Owns the channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call through this channel."""
        self._channel = channel
        self._anonymous = Client(channel)

    async def login(self, username: str, password: str) -> LoggedIn:
        """Log a person in.

        Raises:
            ParleyError: The credentials are wrong, or the platform did not answer.
        """
        tokens = await self._anonymous.login(username, password)
        client = Client(self._channel, Login(TokensInMemory(tokens), self._anonymous.refresh))
        return LoggedIn(client, tokens.must_change_password)

    async def close(self) -> None:
        """Close the channel; calls that still run are cancelled."""
        await self._channel.close()
