"""Answers several orders of one call: each by a run of its own, told as one stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from parley.inference.v1 import chat_pb2
from services.inference.merging import merged
from services.inference.runs.answering import Answering, ChatAnswer
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Run
from services.inference.runs.slow_readers import read_in_time

Told = AsyncGenerator[tuple[int, chat_pb2.ChatResponse], None]
"""Events, each with the number of the order that it answers, counted from 0."""


class JointAnswers:
    """The answers to several orders, by runs that are prepared."""

    def __init__(self, answers: Sequence[ChatAnswer], reader_seconds: float) -> None:
        """Tell these, at least one, to a reader who may take so long over an event."""
        self._answers = answers
        self._reader_seconds = reader_seconds

    @property
    def run_id(self) -> str:
        """The first run, after which the whole is named."""
        return self._answers[0].run_id

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What is left of the caller's limits once the last run was let in."""
        return self._answers[-1].headers

    def told(self, cut: Callable[[], None]) -> Told:
        """The events of all runs as they come, those of each in order; see `ChatAnswer.told`."""
        streams = [_numbered(number, answer) for number, answer in enumerate(self._answers)]
        together = streams[0] if len(streams) == 1 else merged(streams)
        return read_in_time(together, self._reader_seconds, self._give_up, cut)

    def _give_up(self) -> None:
        for answer in self._answers:
            answer.give_up()


@asynccontextmanager
async def begin_all(
    answering: Answering, orders: Sequence[ChatOrder], opened: Callable[[Run], None]
) -> AsyncIterator[JointAnswers]:
    """Open a run for each order, and let them all in before one speaks: a limit refuses all of them, or none.

    Args:
        answering: Opens them; at the block's end they are over.
        orders: What is asked for; at least one.
        opened: Told of each run, as `Answering.begin` has it.

    Raises:
        ServiceError: One cannot begin.
    """
    async with AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(answering.begin(order, opened)) for order in orders]
        yield JointAnswers(answers, answering.reader_seconds)


async def _numbered(number: int, answer: ChatAnswer) -> Told:
    async with aclosing(answer.responses()) as responses:
        async for response in responses:
            yield number, response
