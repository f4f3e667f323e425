"""A stream of answers that frees the server when it is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from parley_client.errors import ParleyError, broken_off, from_rpc_error

Response = TypeVar("Response")
Event = TypeVar("Event")

Detour = Callable[[ParleyError], bool]
"""Told what a call failed with; says whether there is another way to try."""


def nowhere(trouble: ParleyError) -> bool:
    """Knows no other way."""
    del trouble
    return False


class EventStream(Generic[Event]):
    """Events as they come. Close it (or leave its `async with`) to cancel the call.

    Args:
        open_call: Starts the call; called at the first use.
        event_of: Takes the event out of a response message.
        detour: Told what a call failed with before its first event; True where it is to be started again.
    """

    def __init__(
        self,
        open_call: Callable[[], Awaitable[grpc.aio.UnaryStreamCall[Any, Response]]],
        event_of: Callable[[Response], Event],
        detour: Detour = nowhere,
    ) -> None:
        self._detour = detour
        self._open_call = open_call
        self._event_of = event_of
        self._call: grpc.aio.UnaryStreamCall[Any, Any] | None = None
        self._begun = False
        self._closed = False

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event.

        Raises:
            ParleyError: The call failed.
            StopAsyncIteration: The stream is over, or was closed.
        """
        while not self._closed:
            try:
                self._call = self._call or await self._open_call()
                response: Any = await self._call.read()
            except grpc.aio.AioRpcError as error:
                trouble = from_rpc_error(error)
                if self._begun:
                    raise broken_off(trouble) from None
                if not self._detour(trouble):
                    raise trouble from None
                self._call = None
                continue
            if response is grpc.aio.EOF:
                break
            self._begun = True
            return self._event_of(response)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancels the call if it still runs. Closing twice changes nothing."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
