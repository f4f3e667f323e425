"""Connections to checked addresses, below an HTTP client that knows nothing of it.

The client asks for a host by name, and does TLS with that name; here the name
becomes an address that was checked, which is the one that is dialled.
"""

from __future__ import annotations

from collections.abc import Iterable

import httpcore

from services.tools.addresses import AddressGuard

_MAX_ATTEMPTS = 3


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Dials only where the guard lets it."""

    def __init__(self, guard: AddressGuard) -> None:
        """Ask this guard."""
        self._guard = guard
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the client's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the host's addresses, in the resolver's order.

        Raises:
            ToolsError: The guard refuses.
            httpcore.ConnectError: None answers.
        """
        addresses = (await self._guard.admit(host, port))[:_MAX_ATTEMPTS]
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not left:
                    raise
        raise httpcore.ConnectError

    async def sleep(self, seconds: float) -> None:
        """See the base."""
        await self._network.sleep(seconds)
