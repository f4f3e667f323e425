"""Writes an interceptor once for all four shapes of a call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_interceptor.server import AsyncServerInterceptor

Context = grpc.aio.ServicerContext[Any, Any]


class CallInterceptor(AsyncServerInterceptor):
    """Surrounds a call, whatever its shape.

    A subclass overrides `around`, which is entered before the servicer (or the
    next interceptor) runs and left when the answer is whole or has failed;
    `on_request`, which sees each message that comes in before anyone else; and
    `on_answer`, which sees the answer of a call that is no stream.
    """

    def around(self, context: Context, method: str) -> AbstractAsyncContextManager[None]:
        """What surrounds the call. An exception raised here ends it."""
        return nullcontext()

    def on_request(self, message: Message) -> None:
        """Look at a message that came in. An exception raised here ends the call."""

    def on_answer(self, message: Message) -> None:
        """Look at a unary answer, within `around`."""

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Context, method_name: str
    ) -> Any:
        """Run the call within `around`; see `AsyncServerInterceptor.intercept`."""
        if hasattr(request_or_iterator, "__aiter__"):
            request_or_iterator = self._looked_at(request_or_iterator)
        else:
            self.on_request(request_or_iterator)
        # Neither shape runs anything before it is awaited or iterated.
        response = method(request_or_iterator, context)
        if hasattr(response, "__aiter__"):
            return self._stream(response, context, method_name)
        try:
            async with self.around(context, method_name):
                answer = await response
                self.on_answer(answer)
                return answer
        finally:
            response.close()  # a refused call's was never awaited, of which Python would warn

    async def _looked_at(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            self.on_request(request)
            yield request

    async def _stream(
        self, responses: AsyncGenerator[Message, None], context: Context, method_name: str
    ) -> AsyncGenerator[Message, None]:
        # Closed from the inside out, or the collector would close them in any order.
        async with self.around(context, method_name), aclosing(responses):
            async for response in responses:
                yield response
