"""Ends open calls whose caller's token is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

from google.protobuf.message import Message

from services.rpc.call import current_call
from services.rpc.errors import TokenRevoked
from services.rpc.interceptors.around import CallInterceptor, Context
from services.rpc.revocations import Revocations

# A client that does not read cannot be told why; its call is then only cut.
UNREAD_SECONDS = 0.3


class RevocationWatch(CallInterceptor):
    """Ends a call with TOKEN_REVOKED while it runs.

    A servicer that has a better end for it, such as a last event, sets
    `Call.when_revoked`; it is called instead.
    """

    def __init__(self, revocations: Revocations) -> None:
        """Listen to these."""
        self._revocations = revocations

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Run a call that is answered once."""
        with self._watch() as interruption:
            async with interruption.waiting():
                yield

    async def _stream(
        self, responses: AsyncGenerator[Message, None], context: Context, method_name: str
    ) -> AsyncGenerator[Message, None]:
        """Run a call that is answered with a stream.

        Between two answers the task belongs to whoever writes them, and ending
        it there would leave the client without a status.
        """
        with self._watch() as interruption:
            async with aclosing(responses):
                while True:
                    try:
                        async with interruption.waiting():
                            response = await anext(responses)
                    except StopAsyncIteration:
                        return
                    yield response

    @contextmanager
    def _watch(self) -> Iterator[_Interruption]:
        call, interruption = current_call(), _Interruption()

        def tell() -> None:
            (call.when_revoked or interruption.end)()

        if call.principal is None:
            yield interruption
            return
        with self._revocations.watching(call.principal, tell):
            try:
                yield interruption
            finally:
                interruption.settle()


class _Interruption:
    """Gives up what the current task waits for, from outside."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._scope: asyncio.Timeout | None = None
        self._ended = False
        self._cut: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Raise TokenRevoked where the task waits, or where it will next."""
        if self._ended:
            return
        self._ended = True
        loop = asyncio.get_running_loop()
        if self._scope is not None:
            self._scope.reschedule(loop.time())
        elif self._task is not None:
            self._cut = loop.call_later(UNREAD_SECONDS, self._task.cancel)

    def settle(self) -> None:
        """Cut nothing any more."""
        if self._cut is not None:
            self._cut.cancel()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait for something that `end` gives up.

        Raises:
            TokenRevoked: It did.
        """
        self.settle()
        if self._ended:
            raise TokenRevoked
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError:
            if self._scope is None or not self._scope.expired():
                raise
            raise TokenRevoked from None
        finally:
            self._scope = None
