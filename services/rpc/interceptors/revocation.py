"""Ends open calls whose caller's token is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

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
        """End the call where it waits for its servicer.

        Between two answers of a stream the task belongs to whoever writes them,
        and ending it there would leave the client without a status.
        """
        with self._watch() as waiting:
            current_call().waiting = waiting
            yield

    @contextmanager
    def _watch(self) -> Iterator[_Waiting]:
        call, waiting = current_call(), _Waiting()

        def tell() -> None:
            (call.when_revoked or waiting.end)()

        if call.principal is None:
            yield waiting
            return
        with self._revocations.watching(call.principal, tell):
            try:
                yield waiting
            finally:
                waiting.settle()


class _Waiting:
    """The block in which the current task waits for something that `end` gives up.

    It is entered for every message, so it does what `asyncio.timeout` does at
    an eighth of the cost.

    Raises:
        TokenRevoked: When it is entered after `end`, or left because of it.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._within = False
        self._ended = False
        self._interrupted = False
        self._cancelling = 0
        self._cut: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Raise TokenRevoked where the task waits, or where it will next."""
        if self._ended or self._task is None:
            return
        self._ended = True
        if self._within:
            self._interrupted = True
            self._task.cancel()
        else:
            self._cut = asyncio.get_running_loop().call_later(UNREAD_SECONDS, self._task.cancel)

    def settle(self) -> None:
        """Cut nothing any more."""
        if self._cut is not None:
            self._cut.cancel()

    def __enter__(self) -> None:
        self.settle()
        if self._ended:
            raise TokenRevoked
        self._within = True
        self._cancelling = self._task.cancelling() if self._task is not None else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._within = False
        if not self._interrupted or self._task is None or self._task.uncancel() > self._cancelling:
            return  # nobody's business, or the task is cancelled for another reason too
        if kind is None or issubclass(kind, asyncio.CancelledError):
            raise TokenRevoked from None
