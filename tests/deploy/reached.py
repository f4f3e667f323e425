"""A platform in containers, and the means to reach it as clients do."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from pathlib import Path

import grpc

from parley_client.client import Client
from parley_client.credentials import Credentials, Login, TokensInMemory

OWN_USER = "10001:10001"
PASSWORD_FILE = "/var/lib/parley/auth/admin-password"


class Reached(ABC):
    """What the same questions are asked of, however its containers were brought up.

    Attributes:
        folder: Where its secrets lie.
        address: Where its edge is published.
        model: The name of the model it serves.
        auth: The name of its auth service.
        own: The names of those that are of our images.
        browser_flags: What a browser has to be told to find the page.
    """

    folder: Path
    address: str
    model: str
    auth: str
    own: list[str]
    browser_flags: tuple[str, ...] = ()

    @abstractmethod
    def inside(self, service: str, *command: str) -> str:
        """What a command says inside of a service's container."""

    @property
    def authority(self) -> bytes:
        return (self.folder / "secrets" / "authority.pem").read_bytes()

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.decode())

    @property
    def password(self) -> str:
        """The administrator's, as it was made at the first start."""
        return self.inside(self.auth, "cat", PASSWORD_FILE).strip()

    @property
    def page(self) -> str:
        """Where a person finds the page."""
        return f"https://{self.address}/"

    def client(self, credentials: Credentials | None = None) -> Client:
        """A client through the edge."""
        trust = grpc.ssl_channel_credentials(self.authority)
        return Client(grpc.aio.secure_channel(self.address, trust), credentials)

    async def admin(self) -> Client:
        """A client that logged in as the administrator."""
        client = self.client()
        tokens = await client.login("admin", self.password)
        client.credentials = Login(TokensInMemory(tokens), client.refresh)
        return client
