"""The deployment that a command talks to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from cli.credentials import find_credentials
from cli.environment import CommandSettings, command_settings
from cli.failures import CommandError, ExitCode
from cli.home import Home
from parley_client.channel import open_channel
from parley_client.client import Client

T = TypeVar("T")

LOCAL_ADDRESS = "127.0.0.1:8443"


@dataclass(frozen=True)
class Deployment:
    """Where to call, and how to know that it is the right one.

    Attributes:
        settings: The command's settings.
        home: The local stack's home, where logins are saved too.
        address: `host:port` of the edge.
        authority: PEM certificates to check it against; None: the machine's own.
    """

    settings: CommandSettings
    home: Home
    address: str
    authority: Path | None

    @classmethod
    def find(cls) -> Deployment:
        """The deployment that the environment names, or else the local stack.

        Raises:
            SettingsError: A PARLEY_* variable is unknown or not valid.
        """
        settings = command_settings(os.environ)
        home = Home(settings.home.absolute())
        running = home.running()
        address = settings.address or (running.edge_address if running else LOCAL_ADDRESS)
        is_local = not settings.address and home.authority_path.exists()
        return cls(
            settings, home, address, settings.authority_path or (home.authority_path if is_local else None)
        )

    @asynccontextmanager
    async def client(self, *, anonymous: bool = False) -> AsyncIterator[Client]:
        """A client of the deployment, with the caller's credentials unless told otherwise.

        Raises:
            CommandError: The authority cannot be read, or there are no credentials.
            ParleyError: The local password was refused.
        """
        async with Client(self._channel()) as client:
            if not anonymous:
                found = await find_credentials(self.settings, self.home, self.address, client)
                client.credentials = found
            yield client

    def _channel(self) -> grpc.aio.Channel:
        try:
            return open_channel(self.address, authority=self.authority)
        except OSError as error:
            message = f"The authority file {self.authority} cannot be read: {error.strerror}."
            raise CommandError(message, "Correct PARLEY_AUTHORITY_PATH.", ExitCode.MACHINE) from None


def call(action: Callable[[Client], Awaitable[T]]) -> T:
    """Connects with the caller's credentials, does something, and closes."""

    async def run() -> T:
        async with Deployment.find().client() as client:
            return await action(client)

    return asyncio.run(run())
