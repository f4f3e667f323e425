"""Sends calls with the caller's credentials, and makes typed errors of what fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from parley_client.credentials import Credentials, Login, Metadata, Renewable
from parley_client.errors import ParleyError, from_rpc_error
from parley_client.stream import Detour, EventStream, nowhere

UNARY_TIMEOUT_SECONDS = 30.0
TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105  # a reason
TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105  # a reason

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
Event = TypeVar("Event")
PageT = TypeVar("PageT", bound="Page")


class Page(Protocol):
    """Part of a list, as the contract's list methods give it (AIP-158)."""

    next_page_token: str


def nothing() -> Metadata:
    """No metadata."""
    return ()


class Caller:
    """Who calls. Every call raises `ParleyError` when it does not end well.

    Attributes:
        credentials: May be replaced at any time, for example after a login.
    """

    def __init__(self, credentials: Credentials, beside: Callable[[], Metadata] = nothing) -> None:
        """Call with these credentials, and with what `beside` gives for each call."""
        self.credentials = credentials
        self._beside = beside

    async def metadata(self, credentials: Credentials | None = None) -> Metadata:
        """What goes with a call. `credentials` stand in for the caller's own."""
        return (*await (credentials or self.credentials).metadata(), *self._beside())

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer],
        request: Request,
        credentials: Credentials | None = None,
        also: Metadata = (),
    ) -> Answer:
        """Asks for one answer. `credentials` stand in for the caller's own, `also` goes beside them.

        One that is refused because its token has ended is asked again with
        another. A login whose access token was revoked is renewed, so that the
        next call has the rights that are left. This one is not repeated: it
        may have done what ended the token.
        """
        who = credentials or self.credentials
        renewed = self.renewals(who)
        while True:
            metadata = (*await self.metadata(who), *also)
            try:
                return await method(request, metadata=metadata, timeout=UNARY_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                trouble = from_rpc_error(error)
            if renewed(trouble):
                continue
            if trouble.reason == TOKEN_REVOKED and isinstance(who, Login):
                await who.renew()
            raise trouble

    def renewals(self, who: Credentials | None = None, otherwise: Detour = nowhere) -> Detour:
        """Tells, for one call, whether it is to be made again with another token.

        The service's clock says when one has ended: this machine's may be
        behind. Such a call did nothing, so it may be repeated, once.

        Args:
            who: Who calls. Default: the caller.
            otherwise: Asked about every other trouble.
        """
        credentials, renewed = who or self.credentials, False

        def detour(trouble: ParleyError) -> bool:
            nonlocal renewed
            if trouble.reason != TOKEN_EXPIRED or renewed or not isinstance(credentials, Renewable):
                return otherwise(trouble)
            credentials.doubt()
            renewed = True
            return True

        return detour

    def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Answer],
        request: Request,
        event_of: Callable[[Answer], Event],
    ) -> EventStream[Event]:
        """Opens a stream at its first use. `event_of` takes the event out of a response."""

        async def open_call() -> grpc.aio.UnaryStreamCall[Any, Answer]:
            return method(request, metadata=await self.metadata())

        return EventStream(open_call, event_of, self.renewals())


async def pages(page: Callable[[str], Awaitable[PageT]]) -> AsyncIterator[PageT]:
    """Asks for page after page, by its token, until there is none."""
    token = ""
    while True:
        answer = await page(token)
        yield answer
        token = answer.next_page_token
        if not token:
            return
