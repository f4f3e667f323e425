"""How outside MCP servers are reached, and which may be."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcp.client.streamable_http import streamable_http_client

from services.tools.addresses import EVERY_NETWORK, AddressGuard, Resolver
from services.tools.builtin.web.toolset import trust
from services.tools.builtin.web.urls import Target, parse_url
from services.tools.mcp.checked_http import checked_client
from services.tools.mcp.program import MAX_MESSAGE_BYTES, Streams, program_streams
from services.tools.mcp_errors import McpCommandNotAllowed, McpSecretNotFound
from services.tools.settings import McpCommand, McpSecret, McpServerSetting, ToolsSettings
from services.tools.web_errors import HostTimeout, HostUnreachable, UrlInvalid

MAX_SECRET_BYTES = 8 * 2**10

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


class SecretUnreadable(Exception):
    """A secret's file cannot be used; the message says why, and not what is in it."""


@dataclass(frozen=True)
class Reach:
    """What the operator allows.

    Attributes:
        commands: Programs that may be started, by name.
        secrets: Bearer tokens and where they may be sent, by name.
        guard: Where added servers may be.
        anywhere: Where those of the settings may be.
        tls: What servers' certificates are checked against.
        memory_bytes: Data that one program may hold in memory.
    """

    commands: Mapping[str, McpCommand]
    secrets: Mapping[str, McpSecret]
    guard: AddressGuard
    anywhere: AddressGuard
    tls: ssl.SSLContext
    memory_bytes: int

    @classmethod
    def of(cls, settings: ToolsSettings, resolve: Resolver) -> Reach:
        """What the settings allow.

        Raises:
            OSError: The authorities' file cannot be read.
        """
        return cls(
            settings.mcp_commands,
            settings.mcp_secrets,
            AddressGuard(resolve, frozenset(settings.mcp_ports), tuple(settings.mcp_open_networks)),
            AddressGuard(resolve, None, EVERY_NETWORK),
            trust(settings.web_authority_path),
            settings.mcp_memory_bytes,
        )

    async def check(self, server: McpServerSetting) -> None:
        """Find out whether an added server may be reached; whether it answers is another matter.

        Raises:
            McpCommandNotAllowed: The operator allows no such command.
            McpSecretNotFound: The operator keeps no such secret for it.
            UrlInvalid: The URL cannot be used.
            AddressNotAllowed: Its address may not be reached.
        """
        if server.command:
            self._command(server.command)
            return
        target = parse_url(server.url)
        if server.secret_name:
            self._secret(server.secret_name, target)
        parts = urlsplit(server.url)
        if parts.query or parts.fragment:
            raise UrlInvalid("a query or a fragment is not taken; a secret has its own place", target.host)
        try:
            await self.guard.admit(target.host, target.port)
        except (HostUnreachable, HostTimeout):
            return

    def _command(self, name: str) -> McpCommand:
        found = self.commands.get(name)
        if found is None:
            raise McpCommandNotAllowed(name)
        return found

    @asynccontextmanager
    async def streams(
        self, server: McpServerSetting, *, fixed: bool, on_end: Callable[[], None]
    ) -> AsyncIterator[Streams]:
        """Messages to and from a server; the connection, or the program, ends with the block.

        Args:
            server: The server.
            fixed: Whether it is one of the settings.
            on_end: Called when a program says nothing more.

        Raises:
            ToolsError: It may not be reached, or cannot.
            OSError: The program cannot be started.
            SecretUnreadable: The secret's file cannot be used.
        """
        if server.command:
            command = self._command(server.command)
            async with program_streams(command, memory_bytes=self.memory_bytes, on_end=on_end) as streams:
                yield streams
            return
        target = parse_url(server.url)
        headers = self._credentials(server.secret_name, target)
        guard = self.anywhere if fixed else self.guard
        async with checked_client(guard, self.tls, headers) as client:
            opened = streamable_http_client(
                str(target), http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
            )
            async with opened as streams:
                yield streams

    def _secret(self, name: str, target: Target) -> McpSecret:
        """A secret, if it is for this server: who adds servers must not have it sent elsewhere."""
        found = self.secrets.get(name)
        if found is None or parse_url(found.url).origin != target.origin:
            raise McpSecretNotFound(name)
        return found

    def _credentials(self, secret_name: str, target: Target) -> dict[str, str]:
        """The header that carries a secret; none where none is named. The file is read anew each time."""
        if not secret_name:
            return {}
        try:
            with self._secret(secret_name, target).path.open("rb") as file:
                content = file.read(MAX_SECRET_BYTES + 1)
        except OSError as error:
            raise SecretUnreadable(f"the secret {secret_name} cannot be read: {error.strerror}") from None
        text = content.decode("ascii", "replace").strip()
        if len(content) > MAX_SECRET_BYTES or not _PRINTABLE.fullmatch(text):
            raise SecretUnreadable(f"the secret {secret_name} is empty, too long or not plain ASCII")
        return {"authorization": f"Bearer {text}"}
