"""Asks auth for a token with which this service acts for a caller at another one (RFC 8693)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import structlog

from parley.auth.v1 import token_service_pb2
from services.rpc.call import onward_metadata
from services.rpc.errors import DependencyUnavailable, TokenRevoked, error_info, status_of

if TYPE_CHECKING:
    # The stub as grpc.aio makes it; it exists for type checkers alone.
    from parley.auth.v1.token_service_pb2_grpc import TokenServiceAsyncStub

EXCHANGE_SECONDS = 2.0
REVOKED = "TOKEN_REVOKED"

log = structlog.get_logger("parley.rpc")


async def exchange_token(stub: TokenServiceAsyncStub, subject_token: str, seconds: float) -> str:
    """A token to act for the subject of another one, good for this long at most.

    Raises:
        TokenRevoked: The subject's token was revoked.
        DependencyUnavailable: Auth does not answer, or gives none.
    """
    request = token_service_pb2.ExchangeTokenRequest(subject_token=subject_token)
    request.life.FromNanoseconds(int(seconds * 1e9))
    try:
        answer = await stub.ExchangeToken(request, metadata=onward_metadata()[:1], timeout=EXCHANGE_SECONDS)
    except grpc.aio.AioRpcError as error:
        info = error_info(status_of(error))
        if info is not None and info.reason == REVOKED:
            raise TokenRevoked from None
        log.warning("token not exchanged", code=error.code().name)
        raise DependencyUnavailable("auth") from error
    return answer.access_token
