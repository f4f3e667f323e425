"""Lets in only the peers and callers that a method's contract names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from services.rpc.call import AUTHORIZATION, current_call
from services.rpc.errors import MethodUnknown, PeerNotAllowed, TokenInvalid, TokenMissing
from services.rpc.interceptors.around import CallInterceptor, Context
from services.rpc.policies import Access
from services.rpc.revocations import Revocations
from services.rpc.tenant_classes import class_of
from services.rpc.tls import peer_name
from services.rpc.verifier import Verifier

BEARER = "bearer "


class PeerCheck(CallInterceptor):
    """Checks the connection's certificate against the method's peers."""

    def __init__(self, table: Mapping[str, Access], trust_domain: str) -> None:
        """Apply this table to certificates of this trust domain."""
        self._table = table
        self._trust_domain = trust_domain

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Refuse a peer that may not call the method.

        A certificate of the mesh is not enough: without this a neighbour could
        speak as anyone.
        """
        access = self._table.get(method)
        if access is None:
            raise MethodUnknown
        peer = peer_name(context.auth_context(), self._trust_domain)
        if peer is None or peer not in access.peers:
            raise PeerNotAllowed
        current_call().peer = peer
        yield


class PrincipalCheck(CallInterceptor):
    """Checks the caller's token against the method's permission."""

    def __init__(
        self,
        table: Mapping[str, Access],
        verifier: Verifier,
        revocations: Revocations,
        tenant_classes: Mapping[str, str] | None = None,
    ) -> None:
        """Apply this table to the tokens that the verifier takes and nobody revoked.

        Args:
            table: The access rules, by method.
            verifier: Takes the tokens.
            revocations: The tokens that are good no longer.
            tenant_classes: Classes by tenant id.
        """
        self._table = table
        self._verifier = verifier
        self._revocations = revocations
        self._tenant_classes = tenant_classes or {}

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Verify the token, if the method needs one, and put its principal in the call."""
        access = self._table[method]
        if access.needs_token:
            principal = await self._verifier.verify(_bearer_token(context))
            current_call().principal = principal
            current_call().tenant_class = class_of(principal.tenant_id, self._tenant_classes)
            # The actor shows such a token, and whom it showed it to may ask others about the subject.
            if principal.actor and current_call().peer not in (principal.actor, principal.at):
                raise TokenInvalid  # a service's token in another's hands
            await self._revocations.check(principal)
            if access.permission:
                principal.require(access.permission)
        yield


def _bearer_token(context: Context) -> str:
    """The token in the metadata (RFC 6750, section 2.1).

    Raises:
        TokenMissing: There is none, or more than one.
    """
    values = [value for key, value in context.invocation_metadata() or () if key == AUTHORIZATION]
    if len(values) != 1 or not isinstance(values[0], str) or not values[0].lower().startswith(BEARER):
        raise TokenMissing
    return values[0][len(BEARER) :].strip()
