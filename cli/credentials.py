"""With what the command calls: an API key, a saved login, or the local stack's first password."""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from cli.environment import CommandSettings
from cli.failures import CommandError, ExitCode
from cli.home import Home, write_private
from parley_client.client import Client
from parley_client.credentials import Credentials, ExchangedKey, Login, Tokens, TokensInMemory

ADMINISTRATOR = "admin"


class SavedLogin:
    """A login kept in a file of the home, shared by every command that runs at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, home: Home, address: str) -> SavedLogin:
        """The login that is saved for a deployment, or will be."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", address)
        return cls(home.path / "logins" / f"{name}.json")

    def exists(self) -> bool:
        """Whether someone logged in."""
        return self._path.exists()

    def load(self) -> Tokens:
        """The tokens as they are now.

        Raises:
            CommandError: The file holds no login.
        """
        try:
            saved = json.loads(self._path.read_text())
            expires_at = datetime.fromisoformat(saved["expires_at"])
            return Tokens(saved["access_token"], saved["refresh_token"], expires_at)
        except (OSError, ValueError, KeyError, TypeError):
            message = f"The saved login {self._path} cannot be read."
            raise CommandError(message, "Log in again with `parley login`.", ExitCode.NOT_ALLOWED) from None

    def save(self, tokens: Tokens) -> None:
        """Replaces them."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        saved = {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_at": tokens.expires_at.isoformat(),
        }
        write_private(self._path, json.dumps(saved))

    def forget(self) -> None:
        """Removes them."""
        self._path.unlink(missing_ok=True)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Holds off every other command: using a refresh token twice ends the session."""
        with self._path.with_suffix(".lock").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield


async def find_credentials(
    settings: CommandSettings, home: Home, address: str, client: Client
) -> Credentials:
    """The credentials to call with, in the order: PARLEY_API_KEY, saved login, local first password.

    Raises:
        CommandError: There are none.
        ParleyError: The local password was refused.
    """
    if secret := settings.api_key.get_secret_value():
        return ExchangedKey(secret, client.exchange_key)
    saved = SavedLogin.of(home, address)
    if saved.exists():
        return Login(saved, client.refresh)
    running = home.running()
    if running is not None and running.edge_address == address and home.password_path.exists():
        return await local_login(home, client)
    message = f"Nobody is logged in at {address}."
    raise CommandError(message, "Run `parley login`, or set PARLEY_API_KEY.", ExitCode.NOT_ALLOWED)


async def local_login(home: Home, client: Client) -> Credentials:
    """A login with the local stack's first password, which lasts as long as this program.

    Raises:
        ParleyError: The password was changed since.
    """
    password = home.password_path.read_text().strip()
    return Login(TokensInMemory(await client.login(ADMINISTRATOR, password)), client.refresh)
