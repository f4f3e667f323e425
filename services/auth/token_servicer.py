"""Serves `parley.auth.v1.TokenService`."""

from __future__ import annotations

from parley.auth.v1 import token_service_pb2 as pb2
from parley.auth.v1.token_service_pb2_grpc import TokenServiceServicer
from services.auth.clock import Clock
from services.auth.run_tokens import RunTokens
from services.auth.timestamps import duration
from services.rpc.call import current_call
from services.rpc.interceptors.around import Context


class TokenServicer(TokenServiceServicer):
    """Gives services tokens to act for callers with."""

    def __init__(self, tokens: RunTokens, clock: Clock) -> None:
        """Exchange tokens here; `clock` tells their remaining time."""
        self._tokens = tokens
        self._clock = clock

    async def ExchangeToken(
        self, request: pb2.ExchangeTokenRequest, context: Context
    ) -> pb2.ExchangeTokenResponse:
        """Exchange a caller's token for one that names the calling service as actor."""
        token = await self._tokens.exchange(
            request.subject_token, current_call().peer, request.life.ToTimedelta()
        )
        return pb2.ExchangeTokenResponse(
            access_token=token.text, expires_in=duration(token.expires_at - self._clock())
        )
