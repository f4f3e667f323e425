"""The edge, as the page's server sees it: one channel for everyone, credentials of their own for each."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from parley_client.channel import OPTIONS, open_channel
from parley_client.client import Client
from parley_client.credentials import Login, Metadata, TokensInMemory
from services.rpc.channel import RotatingChannel
from services.rpc.tls import TlsFiles, channel_credentials
from web.settings import WebSettings

EDGE = "edge"
"""The edge's name in the mesh."""

FORWARDED_FOR = "x-forwarded-for"
"""How a proxy says whom it calls for; the edge believes the page alone."""


@dataclass
class Whereabouts:
    """Where a person is.

    Attributes:
        address: The IP address of the last request; empty where it is not known.
    """

    address: str = ""

    def metadata(self) -> Metadata:
        """States the address to the edge."""
        return ((FORWARDED_FOR, self.address),) if self.address else ()


@dataclass(frozen=True)
class LoggedIn:
    """A login that was let in.

    Attributes:
        client: Calls for the person, and renews its tokens by itself.
        must_change_password: Whether that is all that it may do at first.
        whereabouts: Where the person is, which the client's calls state.
    """

    client: Client
    must_change_password: bool
    whereabouts: Whereabouts


class Edge:
    """Makes clients for people who log in. Owns the channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call through this channel."""
        self._channel = channel

    async def login(self, username: str, password: str, address: str = "") -> LoggedIn:
        """Log a person in, who is at this IP address.

        Raises:
            ParleyError: The credentials are wrong, or the platform did not answer.
        """
        whereabouts = Whereabouts(address)
        anonymous = Client(self._channel, beside=whereabouts.metadata)
        tokens = await anonymous.login(username, password)
        login = Login(TokensInMemory(tokens), anonymous.refresh)
        client = Client(self._channel, login, beside=whereabouts.metadata)
        return LoggedIn(client, tokens.must_change_password, whereabouts)

    async def close(self) -> None:
        """Close the channel; calls that still run are cancelled."""
        await self._channel.close()


def channel_to_edge(settings: WebSettings) -> grpc.aio.Channel:
    """The channel of these settings: with the page's own identity where it has one.

    Raises:
        OSError: A file of the identity or of the authority cannot be read.
    """
    if settings.tls is None:
        return open_channel(settings.edge_address, authority=settings.edge_authority_path)
    return as_page(settings.edge_address, settings.tls, settings.trust_domain)


def as_page(address: str, tls: TlsFiles, trust_domain: str) -> RotatingChannel:
    """A channel to the edge by its name in the mesh, where it believes what the page says of people.

    Raises:
        OSError: A file of the identity cannot be read.
    """
    options = (*OPTIONS, ("grpc.ssl_target_name_override", f"{EDGE}.{trust_domain}"))
    return RotatingChannel(
        lambda: grpc.aio.secure_channel(address, channel_credentials(tls), options=options), tls.version
    )
