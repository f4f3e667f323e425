"""A conversation on one stream, from the client's side.

async with client.converse(converse_pb2.ConverseSetup()) as conversation:
    await conversation.say("What is 17 * 23?")
    async for response in conversation:
        print(response.event.content_delta.text, end="")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import grpc

from parley.inference.v1 import answer_pb2, converse_pb2, message_pb2
from parley_client.errors import ParleyError, broken_off, from_rpc_error

Call = grpc.aio.StreamStreamCall[converse_pb2.ConverseRequest, converse_pb2.ConverseResponse]


class ConversationStream:
    """Responses as they come, and what may be said meanwhile.

    Close it (or leave its `async with`) to end it with whatever is running.
    Every method raises `ParleyError` when the stream did not end well.

    Args:
        open_call: Starts the call; called at the first use.
        setup: How turns are answered.
    """

    def __init__(self, open_call: Callable[[], Awaitable[Call]], setup: converse_pb2.ConverseSetup) -> None:
        self._open_call = open_call
        self._setup = setup
        self._call: Call | None = None
        self._opening = asyncio.Lock()
        self._begun = False

    async def say(self, text: str) -> None:
        """Says something to be answered; while an answer is under way it waits."""
        content = [message_pb2.ContentPart(text=text)]
        await self._send(converse_pb2.ConverseRequest(user_turn=converse_pb2.UserTurn(content=content)))

    async def submit_tool_result(self, result: answer_pb2.ClientToolResult) -> None:
        """Answers a call of one of the client's own tools."""
        await self._send(converse_pb2.ConverseRequest(tool_result=result))

    async def decide_approval(self, call_id: str, *, approve: bool, note: str = "") -> None:
        """Approves or denies a call that waits for it."""
        await self._send(converse_pb2.ConverseRequest(decision=approval_decision(call_id, approve, note)))

    async def interrupt(self, run_id: str = "") -> None:
        """Ends the answer that is under way, or only that of this run. What it said is kept."""
        await self._send(converse_pb2.ConverseRequest(interrupt=converse_pb2.Interrupt(run_id=run_id)))

    async def finish(self) -> None:
        """Says that nothing more will be said; what was asked is still answered."""
        try:
            await (await self._opened()).done_writing()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    def __aiter__(self) -> AsyncIterator[converse_pb2.ConverseResponse]:
        return self

    async def __anext__(self) -> converse_pb2.ConverseResponse:
        """The next response.

        Raises:
            ParleyError: The stream failed.
            StopAsyncIteration: It is over.
        """
        try:
            response: Any = await (await self._opened()).read()
        except grpc.aio.AioRpcError as error:
            trouble = from_rpc_error(error)
            raise (broken_off(trouble) if self._begun else trouble) from None
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        self._begun = True
        conversed: converse_pb2.ConverseResponse = response
        return conversed

    async def aclose(self) -> None:
        """Cancels the call if it still runs. Closing twice changes nothing."""
        if self._call is not None:
            self._call.cancel()

    async def _opened(self) -> Call:
        """The call, set up."""
        async with self._opening:
            if self._call is None:
                self._call = await self._open_call()
                await self._call.write(converse_pb2.ConverseRequest(setup=self._setup))
            return self._call

    async def _send(self, request: converse_pb2.ConverseRequest) -> None:
        try:
            await (await self._opened()).write(request)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        except asyncio.InvalidStateError:
            raise ParleyError(grpc.StatusCode.CANCELLED, "The conversation is over.") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def approval_decision(call_id: str, approve: bool, note: str) -> answer_pb2.ApprovalDecision:
    """A decision about a call."""
    verdict = answer_pb2.APPROVAL_VERDICT_APPROVE if approve else answer_pb2.APPROVAL_VERDICT_DENY
    return answer_pb2.ApprovalDecision(call_id=call_id, verdict=verdict, note=note)
