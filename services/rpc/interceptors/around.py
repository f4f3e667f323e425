"""Writes an interceptor once for all four shapes of a call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_interceptor.server import AsyncServerInterceptor

from services.rpc.call import current_call

Context = grpc.aio.ServicerContext[Any, Any]


class CallInterceptor:
    """Surrounds a call, whatever its shape.

    A subclass overrides `begin`, which runs before anything of the call does;
    `around`, which is entered before the servicer (or the next interceptor) runs
    and left when the answer is whole or has failed; `on_request`, which sees each
    message that comes in before anyone further in; and `on_answer`, which sees
    the answer of a call that is no stream.
    """

    def begin(self, method: str) -> None:
        """A call of this method begins; nothing of it was seen."""

    def around(self, context: Context, method: str) -> AbstractAsyncContextManager[None]:
        """What surrounds the call. An exception raised here ends it."""
        return nullcontext()

    def on_request(self, message: Message) -> None:
        """Look at a message that came in. An exception raised here ends the call."""

    def on_answer(self, message: Message) -> None:
        """Look at a unary answer, within `around`."""


class Chain(AsyncServerInterceptor):
    """All the interceptors of a server as one.

    gRPC puts a handler, and for streams a generator, around each interceptor
    that it knows of; a streamed message would pass every one of them.
    """

    def __init__(self, interceptors: Sequence[CallInterceptor]) -> None:
        """Surround calls with these, outermost first."""
        self.interceptors = tuple(interceptors)

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Context, method_name: str
    ) -> Any:
        """Run the call within its interceptors; see `AsyncServerInterceptor.intercept`."""
        for interceptor in self.interceptors:
            interceptor.begin(method_name)
        request: Message | None = None
        if hasattr(request_or_iterator, "__aiter__"):
            request_or_iterator = self._looked_at(request_or_iterator)
        else:
            request = request_or_iterator
        response = _begun(method, request_or_iterator, context)
        surrounded = self._surrounded(request, context, method_name)
        if hasattr(response, "__aiter__"):
            return self._stream(response, surrounded)
        try:
            return await self._answer(response, surrounded)
        finally:
            response.close()  # a refused call's was never awaited, of which Python would warn

    @asynccontextmanager
    async def _surrounded(
        self, request: Message | None, context: Context, method: str
    ) -> AsyncIterator[None]:
        """Within all of them. The one message of a unary request is seen on the way in."""
        async with AsyncExitStack() as stack:
            for interceptor in self.interceptors:
                if request is not None:
                    interceptor.on_request(request)
                await stack.enter_async_context(interceptor.around(context, method))
            yield

    async def _looked_at(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            for interceptor in self.interceptors:
                interceptor.on_request(request)
            yield request

    async def _answer(self, response: Any, surrounded: AbstractAsyncContextManager[None]) -> Any:
        async with surrounded:
            with current_call().waiting:
                answer = await response
            if answer is not None:  # a servicer that writes its stream by itself answers with nothing
                for interceptor in self.interceptors:
                    interceptor.on_answer(answer)
            return answer

    async def _stream(
        self, responses: AsyncGenerator[Message, None], surrounded: AbstractAsyncContextManager[None]
    ) -> AsyncGenerator[Message, None]:
        # Closed from the inside out, or the collector would close them in any order.
        async with surrounded, aclosing(responses):
            waiting = current_call().waiting
            while True:
                try:
                    with waiting:
                        response = await anext(responses)
                except StopAsyncIteration:
                    return
                yield response


def _begun(method: Callable[..., Any], request_or_iterator: Any, context: Context) -> Any:
    """The servicer's answer or stream, of which nothing runs before it is awaited or iterated.

    A method that a servicer does not have is a plain function, which raises at once; it is to raise
    where interceptors see it.
    """
    try:
        return method(request_or_iterator, context)
    except Exception as error:
        return _raise(error)


async def _raise(error: Exception) -> None:
    raise error
