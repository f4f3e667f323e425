"""Serves `parley.auth.v1.SessionService`."""

from __future__ import annotations

from parley.auth.v1 import session_service_pb2 as pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceServicer
from services.auth.clock import Clock
from services.auth.errors import ExternalLoginOff
from services.auth.external.issuer import TokenKind
from services.auth.external.logins import ExternalLogins
from services.auth.live_sessions import LiveSessions
from services.auth.sessions import Sessions, SessionTokens
from services.auth.store.models import LoginSession
from services.auth.timestamps import duration, timestamp
from services.auth.tokens import AccessTokens
from services.rpc.call import current_call, current_principal
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens

TOKEN_KINDS = {
    pb2.EXTERNAL_TOKEN_TYPE_ID_TOKEN: TokenKind.ID,
    pb2.EXTERNAL_TOKEN_TYPE_ACCESS_TOKEN: TokenKind.ACCESS,
}


class SessionServicer(SessionServiceServicer):
    """Translates between the contract and `Sessions`."""

    def __init__(
        self,
        sessions: Sessions,
        live: LiveSessions,
        pages: PageTokens,
        tokens: AccessTokens,
        clock: Clock,
        external: ExternalLogins | None = None,
    ) -> None:
        """Serve these sessions, and the keys that these tokens are signed with.

        Args:
            sessions: Begins and continues them.
            live: Lists and ends them.
            pages: Makes and reads page tokens.
            tokens: Knows the public keys.
            clock: What the tokens' remaining time is told by.
            external: Logs in the users of an outside issuer; None where none is trusted.
        """
        self._sessions = sessions
        self._live = live
        self._pages = pages
        self._tokens = tokens
        self._clock = clock
        self._external = external

    async def Login(self, request: pb2.LoginRequest, context: Context) -> pb2.LoginResponse:
        """Log a user in with a password."""
        tokens = await self._sessions.login(request.username, request.password, current_call().client_address)
        return pb2.LoginResponse(tokens=self._pair(tokens), must_change_password=tokens.must_change_password)

    async def Refresh(self, request: pb2.RefreshRequest, context: Context) -> pb2.RefreshResponse:
        """Continue a session."""
        return pb2.RefreshResponse(tokens=self._pair(await self._sessions.refresh(request.refresh_token)))

    async def ExchangeExternalToken(
        self, request: pb2.ExchangeExternalTokenRequest, context: Context
    ) -> pb2.ExchangeExternalTokenResponse:
        """Log a user of the outside issuer in."""
        if self._external is None:
            raise ExternalLoginOff
        tokens = await self._external.exchange(
            request.subject_token,
            TOKEN_KINDS[request.subject_token_type],
            current_call().client_address,
        )
        return pb2.ExchangeExternalTokenResponse(tokens=self._pair(tokens))

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
            session_id=principal.session_id,
        )

    async def Logout(self, request: pb2.LogoutRequest, context: Context) -> pb2.LogoutResponse:
        """End the caller's session."""
        await self._live.logout(current_principal())
        return pb2.LogoutResponse()

    async def ListSessions(
        self, request: pb2.ListSessionsRequest, context: Context
    ) -> pb2.ListSessionsResponse:
        """List a user's live sessions, newest first."""
        caller = current_principal()
        listing = Listing(self._pages, request, caller)
        found = await self._live.page(caller, request.user_id, listing.after, listing.fetched)
        sessions, token = listing.cut(found, lambda login: login.session_id)
        return pb2.ListSessionsResponse(
            sessions=[_session(login, caller.session_id) for login in sessions], next_page_token=token
        )

    async def EndSession(self, request: pb2.EndSessionRequest, context: Context) -> pb2.EndSessionResponse:
        """End one session."""
        await self._live.end(current_principal(), request.session_id)
        return pb2.EndSessionResponse()

    async def EndSessions(self, request: pb2.EndSessionsRequest, context: Context) -> pb2.EndSessionsResponse:
        """End all sessions of a user."""
        ended = await self._live.end_all(current_principal(), request.user_id)
        return pb2.EndSessionsResponse(ended_sessions=ended)

    async def GetJwks(self, request: pb2.GetJwksRequest, context: Context) -> pb2.GetJwksResponse:
        """Give the public keys."""
        return pb2.GetJwksResponse(keys=[_jwk(key) for key in self._tokens.public_jwks()])

    def _pair(self, tokens: SessionTokens) -> pb2.TokenPair:
        now = self._clock()
        return pb2.TokenPair(
            access_token=tokens.access.text,
            expires_in=duration(tokens.access.expires_at - now),
            refresh_token=tokens.refresh,
            refresh_expires_in=duration(tokens.refresh_expires_at - now),
        )


def _session(login: LoginSession, current: str) -> pb2.Session:
    return pb2.Session(
        session_id=login.session_id,
        user_id=login.user_id,
        create_time=timestamp(login.create_time),
        last_use_time=timestamp(login.last_use_time or login.create_time),
        expire_time=timestamp(login.expire_time),
        address=login.address,
        current=login.session_id == current,
    )


def _jwk(jwk: dict[str, str]) -> pb2.JsonWebKey:
    known = pb2.JsonWebKey.DESCRIPTOR.fields_by_name
    return pb2.JsonWebKey(**{name: value for name, value in jwk.items() if name in known})
