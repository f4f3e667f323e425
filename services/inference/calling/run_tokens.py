"""Tokens with which a run calls tools when its caller's own token may be over before it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from services.rpc.call import current_call, current_principal
from services.rpc.errors import DependencyUnavailable
from services.rpc.token_exchange import exchange_token

if TYPE_CHECKING:
    # The stub as grpc.aio makes it; it exists for type checkers alone.
    from parley.auth.v1.token_service_pb2_grpc import TokenServiceAsyncStub

# A call of a tool begins a little after its token was looked at.
MARGIN_SECONDS = 5.0


class RunTokens(Protocol):
    """Gives a run what it calls tools with."""

    async def cover(self, until: float) -> None:
        """See to it that the current call can act for its caller until then.

        Args:
            until: When the run ends at the latest, on the event loop's clock.

        Raises:
            TokenRevoked: The caller's token was revoked.
        """
        ...


class OwnTokens:
    """Callers' own tokens, for as long as those are good."""

    async def cover(self, until: float) -> None:
        """See `RunTokens.cover`."""


class ExchangedTokens:
    """Tokens that auth gives for runs (RFC 8693)."""

    def __init__(self, stub: TokenServiceAsyncStub) -> None:
        """Ask this service."""
        self._stub = stub

    async def cover(self, until: float) -> None:
        """See `RunTokens.cover`. Without an answer the run goes on with its caller's token."""
        seconds = until - asyncio.get_running_loop().time() + MARGIN_SECONDS
        principal = current_principal()
        if principal.expires_at.timestamp() - time.time() >= seconds:
            return
        try:
            token = await exchange_token(self._stub, principal.token, seconds)
        except DependencyUnavailable:
            return
        current_call().onward_token = token
