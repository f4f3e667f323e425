"""Serves `parley.auth.v1.SessionService`."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from parley.auth.v1 import session_service_pb2 as pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceServicer
from services.auth.clock import Clock
from services.auth.sessions import Sessions, SessionTokens
from services.auth.tokens import AccessTokens
from services.rpc.call import current_principal
from services.rpc.interceptors.around import Context

FORWARDED_FOR = "x-forwarded-for"


class SessionServicer(SessionServiceServicer):
    """Translates between the contract and `Sessions`."""

    def __init__(
        self, sessions: Sessions, tokens: AccessTokens, clock: Clock, *, trusted_hops: int = 0
    ) -> None:
        """Serve these sessions, and the keys that these tokens are signed with.

        Args:
            sessions: Begins and continues them.
            tokens: Knows the public keys.
            clock: What the tokens' remaining time is told by.
            trusted_hops: Proxies before the edge that name their client truly.
        """
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._trusted_hops = trusted_hops

    async def Login(self, request: pb2.LoginRequest, context: Context) -> pb2.LoginResponse:
        """Log a user in with a password."""
        tokens = await self._sessions.login(
            request.username, request.password, client_address(context, self._trusted_hops)
        )
        return pb2.LoginResponse(tokens=self._pair(tokens))

    async def Refresh(self, request: pb2.RefreshRequest, context: Context) -> pb2.RefreshResponse:
        """Continue a session."""
        return pb2.RefreshResponse(tokens=self._pair(await self._sessions.refresh(request.refresh_token)))

    async def WhoAmI(self, request: pb2.WhoAmIRequest, context: Context) -> pb2.WhoAmIResponse:
        """Tell what the caller's token says."""
        principal = current_principal()
        return pb2.WhoAmIResponse(
            user_id=principal.user_id,
            username=principal.username,
            tenant_id=principal.tenant_id,
            roles=sorted(principal.roles),
            permissions=sorted(principal.permissions),
            key_id=principal.key_id,
        )

    async def GetJwks(self, request: pb2.GetJwksRequest, context: Context) -> pb2.GetJwksResponse:
        """Give the public keys."""
        return pb2.GetJwksResponse(keys=[_jwk(key) for key in self._tokens.public_jwks()])

    def _pair(self, tokens: SessionTokens) -> pb2.TokenPair:
        now = self._clock()
        return pb2.TokenPair(
            access_token=tokens.access.text,
            expires_in=_duration(tokens.access.expires_at - now),
            refresh_token=tokens.refresh,
            refresh_expires_in=_duration(tokens.refresh_expires_at - now),
        )


def client_address(context: Context, trusted_hops: int) -> str:
    """The client's IP address, as the edge states it.

    The edge appends the address that it sees to `x-forwarded-for`, and each
    trusted proxy before it did the same; what stands further left is only what
    a client says of itself. Without the header, the connection's own address.
    """
    metadata = context.invocation_metadata() or ()
    stated = [value for key, value in metadata if key == FORWARDED_FOR and isinstance(value, str)]
    addresses = [part.strip() for part in ",".join(stated).split(",") if part.strip()]
    if len(addresses) > trusted_hops:
        return addresses[-1 - trusted_hops]
    return str(context.peer())


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def _jwk(jwk: dict[str, str]) -> pb2.JsonWebKey:
    known = pb2.JsonWebKey.DESCRIPTOR.fields_by_name
    return pb2.JsonWebKey(**{name: value for name, value in jwk.items() if name in known})
