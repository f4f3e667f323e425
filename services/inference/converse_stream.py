"""One stream of `Converse`: turns, results, decisions and interrupts in, events out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from parley.inference.v1 import chat_pb2, converse_pb2
from services.inference.calling.errors import CallNotWaiting
from services.inference.calling.waiting_calls import Answer, Outcome
from services.inference.engine.turn import Message, Role
from services.inference.errors import ReaderTooSlow, TurnQueueFull
from services.inference.history import History, StoredHistory
from services.inference.messages import check_order
from services.inference.runs.answering import Answering, last_moment
from services.inference.runs.events import FinishReason
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Run
from services.inference.translation import messages as translate_messages
from services.inference.translation import requests as translate
from services.rpc.call import current_call, current_principal, tell_part
from services.rpc.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    FieldViolation,
    Internal,
    InvalidRequest,
    PermissionMissing,
    ServiceError,
    TokenExpired,
    TokenRevoked,
)
from services.rpc.tasks import end_task

SETUP_SECONDS = 30.0
IDLE_SECONDS = 600.0
MAX_WAITING_TURNS = 8

AHEAD = 16
"""Responses that may be made before the client reads them."""

Requests = AsyncIterator[converse_pb2.ConverseRequest]


@dataclass(frozen=True, slots=True)
class _Turn:
    """Something to answer, and the number of the client's message that said it."""

    number: int
    message: Message


class ConverseStream:
    """One client's stream, from the set-up to its end.

    One task listens and one speaks; they meet in the turns that wait, and in
    the run that is under way. Whatever is said goes through one short queue, so
    that a client that does not read holds up its own runs and nobody else's.
    """

    def __init__(
        self, answering: Answering, stopping: asyncio.Event, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        """Hold a conversation with the current caller.

        Args:
            answering: Answers its turns.
            stopping: Set when the replica stops; what is being answered then is answered.
            idle_seconds: How long another turn is waited for.
        """
        self._answering = answering
        self._stopping = stopping
        self._idle_seconds = idle_seconds
        self._responses: asyncio.Queue[converse_pb2.ConverseResponse | None] = asyncio.Queue(AHEAD)
        self._tasks: list[asyncio.Task[None]] = []
        self._turns: deque[_Turn] = deque()
        self._changed = asyncio.Event()
        self._number = 0
        self._run: Run | None = None
        self._all_said = False
        self._failure: ServiceError | None = None
        self._log = structlog.get_logger("parley.inference")

    async def responses(self, requests: Requests) -> AsyncGenerator[converse_pb2.ConverseResponse, None]:
        """What the client is told.

        Raises:
            ServiceError: The stream ended otherwise than by half-closing.
        """
        order = await self._set_up(requests)
        current_call().when_revoked = lambda: self._end(TokenRevoked(), FinishReason.REVOKED)
        work = (self._listen(requests), self._speak(order), self._heed_stopping())
        self._tasks = [asyncio.create_task(each) for each in work]
        try:
            while (response := await self._responses.get()) is not None:
                yield response
        finally:
            for task in self._tasks:
                task.cancel()
            for task in self._tasks:
                await end_task(task)
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        """The client is gone: free what its run holds, also where nobody reads any more."""
        self._end(Cancelled("The client left."), FinishReason.CANCELLED)
        for task in self._tasks:
            task.cancel()
        if self._responses.empty():
            self._responses.put_nowait(None)

    def give_up(self, seconds: float) -> None:
        """The client took nothing for so long: once it took what is there, it learns of it."""
        self._end(ReaderTooSlow(seconds), FinishReason.SLOW_READER)

    def _end(self, failure: ServiceError, reason: FinishReason | None = None) -> None:
        """End the stream with this status, and the run that is under way if there is a reason for it.

        The first failure stands.
        """
        self._failure = self._failure or failure
        if reason is not None and self._run is not None:
            self._run.end(reason)
        self._changed.set()

    async def _set_up(self, requests: Requests) -> ChatOrder:
        """How turns are answered, as the first message says.

        Raises:
            ServiceError: It does not come in time, or asks for what cannot be.
        """
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                first = await anext(requests, None)
        except TimeoutError:
            raise DeadlineExceeded(f"No set-up came within {SETUP_SECONDS:g} s.") from None
        self._number = 1
        if first is None or first.WhichOneof("message") != "setup":
            raise _out_of_place("the first message must be the set-up")
        order = translate.conversation_order(first.setup)
        check_order((*order.messages, Message(Role.USER, "")))
        self._answering.engine(order.model)
        return order

    async def _heed_stopping(self) -> None:
        await self._stopping.wait()
        self._end(Draining())

    async def _listen(self, requests: Requests) -> None:
        """Take what the client says, until it has said all."""
        try:
            async for request in requests:
                self._number += 1
                try:
                    self._take(request)
                except ServiceError as error:
                    await self._refuse(self._number, error)
        except ServiceError as error:
            # A message broke its rules: whoever reads them for us stops there.
            self._end(error, FinishReason.CANCELLED)
        except Exception:
            self._end(self._internal_fault(), FinishReason.CANCELLED)
        self._all_said = True
        self._changed.set()

    def _take(self, request: converse_pb2.ConverseRequest) -> None:
        """Do what a message says.

        Raises:
            ServiceError: It cannot be done.
        """
        match request.WhichOneof("message"):
            case "user_turn":
                if len(self._turns) >= MAX_WAITING_TURNS:
                    raise TurnQueueFull(MAX_WAITING_TURNS)
                self._turns.append(_Turn(self._number, translate_messages.user_turn(request.user_turn)))
                self._changed.set()
            case "tool_result":
                result = request.tool_result
                self._answer_call(result.call_id, translate.client_result(result))
            case "decision":
                self._answer_call(request.decision.call_id, translate.decision(request.decision))
            case "interrupt":
                run_id = request.interrupt.run_id
                if self._run is not None and run_id in ("", self._run.run_id):
                    self._run.end(FinishReason.CANCELLED)
            case _:
                raise _out_of_place("the set-up can only be the first message")

    def _answer_call(self, call_id: str, answer: Answer) -> None:
        """Give the run that is under way an answer.

        Raises:
            CallNotWaiting: No call of it waits for such an answer.
            PermissionMissing: The caller may not let the call run.
        """
        if self._run is None:
            raise CallNotWaiting("", call_id)
        granted = current_principal().permissions
        delivery = self._run.waiting_calls.answer(call_id, answer, granted)
        if delivery.outcome is Outcome.NOT_PERMITTED:
            raise PermissionMissing(delivery.permission)
        if delivery.outcome is Outcome.NOT_WAITING:
            raise CallNotWaiting(self._run.run_id, call_id)

    async def _speak(self, order: ChatOrder) -> None:
        """Answer turn after turn, until there will be no more."""
        history = StoredHistory() if order.continues else History(order.messages)
        try:
            while (turn := await self._next_turn()) is not None:
                await self._answer(turn, order, history)
        except ServiceError as error:
            self._end(error)
        except Exception:
            self._end(self._internal_fault())
        await self._responses.put(None)

    async def _next_turn(self) -> _Turn | None:
        """What is to be answered next; None where nothing will be.

        Raises:
            DeadlineExceeded: Nothing came in time.
            TokenExpired: The caller's token is over, so nothing more can begin.
        """
        last, until = last_moment(), asyncio.get_running_loop().time() + self._idle_seconds
        try:
            async with asyncio.timeout_at(until if last is None else min(until, last)):
                while self._failure is None and not self._turns and not self._all_said:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise DeadlineExceeded("Nothing was said for too long, or the call's time is over.") from None
        if self._failure is not None or not self._turns:
            return None
        if current_principal().expires_at <= datetime.now(UTC):
            raise TokenExpired
        return self._turns.popleft()

    async def _answer(self, turn: _Turn, order: ChatOrder, history: History) -> None:
        """Answer a turn, tell the audit of it, and refuse it where it cannot begin."""
        failure: BaseException | None = None
        try:
            await self._run_turn(turn, order, history)
        except ServiceError as error:
            failure = error
            if self._failure is None:
                await self._refuse(turn.number, error)
        except BaseException as error:
            failure = error
            raise
        finally:
            run_id = self._run.run_id if self._run is not None else ""
            said = turn.message.content.encode() + b"".join(each.digest for each in turn.message.images)
            tell_part(failure, said, run_id=run_id, message=str(turn.number))
            self._run = None

    async def _run_turn(self, turn: _Turn, order: ChatOrder, history: History) -> None:
        """Answer a turn by a run of its own, and keep what was said.

        Raises:
            ServiceError: It cannot begin.
        """
        asked = replace(order, messages=history.asked(turn.message))
        async with self._answering.begin(asked, self._opened) as answer:
            try:
                async with aclosing(answer.responses()) as responses:
                    async for response in responses:
                        await self._tell(turn.number, response.event)
            finally:
                history.add(turn.message, answer.said)

    async def _tell(self, number: int, event: chat_pb2.ChatEvent) -> None:
        await self._responses.put(converse_pb2.ConverseResponse(message_number=number, event=event))

    def _opened(self, run: Run) -> None:
        self._run = run

    async def _refuse(self, number: int, error: ServiceError) -> None:
        refusal = converse_pb2.ConverseResponse(message_number=number, refusal=error.to_status())
        await self._responses.put(refusal)

    def _internal_fault(self) -> Internal:
        """A fault of ours: logged in full, masked for the client."""
        request_id = current_call().request_id
        self._log.exception("conversation failed", request_id=request_id)
        return Internal(request_id)


def _out_of_place(rule: str) -> InvalidRequest:
    return InvalidRequest(f"setup: {rule}", violations=[FieldViolation("setup", rule)])
