"""Under load text is gathered: fewer events, the same words. The clock is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from google.protobuf import duration_pb2

from parley.inference.v1 import chat_pb2
from services.inference.engine.turn import ToolCall
from services.inference.reading.deltas import join
from services.inference.reading.logprobs import TokenLogprob
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
    TurnUsage,
)
from services.inference.runs.coalescing import FEW_STREAMS, MANY_STREAMS, Coalescing, Gathering, window
from services.inference.runs.events import CallReady, Finished, FinishReason, RunEvent, RunUsage, Started
from tests.conftest import TokenMaker
from tests.inference.clock import Clock
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine
from tests.inference.test_servicer import PERMISSIONS, chat, kinds, read, reason

A, B, C = (ContentDelta(text) for text in "abc")
END = Finished(FinishReason.STOP)
WINDOW = 0.08


class Speaker:
    """A run that says what it is given, and ends with None."""

    def __init__(self, *events: RunEvent | None) -> None:
        self.queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        self.closed = False
        self.taken = 0
        self.say(*events)

    def say(self, *events: RunEvent | None) -> None:
        for event in events:
            self.queue.put_nowait(event)

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        try:
            while (event := await self.queue.get()) is not None:
                self.taken += 1
                yield event
        finally:
            self.closed = True


async def settled() -> None:
    """Let every task come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def opened(stack: AsyncExitStack, coalescing: Coalescing, streams: int) -> None:
    """So many streams that speak."""
    for _ in range(streams):
        events = await stack.enter_async_context(aclosing(coalescing.gathered(Speaker(A).events())))
        await anext(events)


class Busy:
    """A replica where as many streams speak as make the window a whole one."""

    def __init__(self, **gathering: Any) -> None:
        self.clock = Clock()
        self.coalescing = Coalescing(Gathering(WINDOW, **gathering), self.clock)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Busy:
        await opened(self._stack, self.coalescing, MANY_STREAMS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def heard(self, *events: RunEvent, most_seconds: float | None = None) -> list[RunEvent]:
        """What a client hears of events that come at once."""
        speaker = Speaker(*events, None)
        return [event async for event in self.coalescing.gathered(speaker.events(), most_seconds)]


def test_text_is_gathered_for_longer_the_more_streams_there_are_and_never_for_longer_than_allowed() -> None:
    windows = [window(streams, WINDOW) for streams in range(200)]
    assert windows == sorted(windows)
    assert set(windows[: FEW_STREAMS + 1]) == {0.0}
    assert windows[FEW_STREAMS + 1] > 0
    assert windows[(FEW_STREAMS + MANY_STREAMS) // 2] == pytest.approx(WINDOW / 2)
    assert set(windows[MANY_STREAMS:]) == {WINDOW}


def test_where_nothing_may_be_gathered_no_load_changes_that() -> None:
    assert {window(streams, 0) for streams in range(1000)} == {0.0}


def test_deltas_of_a_kind_and_a_choice_are_joined_and_no_others() -> None:
    one, two = TokenLogprob(1, b"a", -0.1), TokenLogprob(2, b"b", -0.2)
    both = join(ContentDelta("a", 1, (one,)), ContentDelta("b", 1, (two,)))
    assert both == ContentDelta("ab", 1, (one, two))
    assert join(ReasoningDelta("a"), ReasoningDelta("b")) == ReasoningDelta("ab")
    begun, more = ToolCallDelta(0, "call-1", "add", "{"), ToolCallDelta(0, "", "", "}")
    assert join(begun, more) == ToolCallDelta(0, "call-1", "add", "{}")
    apart: list[tuple[Delta, Delta]] = [
        (A, ReasoningDelta("b")),
        (A, ContentDelta("b", 1)),
        (begun, begun),
        (begun, ToolCallDelta(1, "", "", "}")),
        (A, more),
    ]
    assert [join(*pair) for pair in apart] == [None] * len(apart)


async def test_while_few_streams_speak_every_token_leaves_as_it_comes() -> None:
    clock = Clock()
    coalescing = Coalescing(Gathering(WINDOW), clock)
    async with AsyncExitStack() as stack:
        await opened(stack, coalescing, FEW_STREAMS - 1)
        events = [event async for event in coalescing.gathered(Speaker(A, B, C, END, None).events())]
    assert events == [A, B, C, END]
    assert clock.alarms == []


async def test_under_load_the_first_token_leaves_at_once_and_others_when_the_time_is_over() -> None:
    async with Busy() as busy:
        speaker = Speaker(A)
        async with aclosing(busy.coalescing.gathered(speaker.events())) as events:
            assert await anext(events) == A
            speaker.say(B)
            following = asyncio.ensure_future(anext(events))
            await settled()
            busy.clock.go(WINDOW / 2)
            speaker.say(C)
            await settled()
            assert not following.done()
            busy.clock.go(WINDOW / 2)
            assert await following == ContentDelta("bc")


async def test_a_token_that_comes_after_the_time_leaves_at_once() -> None:
    async with Busy() as busy:
        speaker = Speaker(A)
        async with aclosing(busy.coalescing.gathered(speaker.events())) as events:
            await anext(events)
            busy.clock.go(WINDOW)
            speaker.say(B)
            assert await anext(events) == B


async def test_what_is_no_delta_leaves_at_once_after_all_that_was_said() -> None:
    ready, usage = CallReady(ToolCall("call-1", "add", "{}"), 1), RunUsage(10, 3)
    async with Busy() as busy:
        assert await busy.heard(A, B, C, usage, ready, A, B, END) == [
            *(A, ContentDelta("bc"), usage, ready),
            *(A, B, END),
        ]


async def test_a_request_may_ask_for_less_and_for_every_token() -> None:
    async with Busy() as busy:
        assert await busy.heard(A, B, C, END, most_seconds=0) == [A, B, C, END]
        assert await busy.heard(A, B, C, END, most_seconds=60) == [A, ContentDelta("bc"), END]
        speaker = Speaker(A)
        async with aclosing(busy.coalescing.gathered(speaker.events(), WINDOW / 4)) as events:
            await anext(events)
            speaker.say(B)
            following = asyncio.ensure_future(anext(events))
            await settled()
            busy.clock.go(WINDOW / 4)
            assert await following == B


async def test_choices_are_gathered_side_by_side_and_each_keeps_its_order() -> None:
    async with Busy() as busy:
        heard = await busy.heard(
            A,
            *(ReasoningDelta("r", 1), B, ReasoningDelta("s", 1)),
            *(ContentDelta("x", 1), C, ContentDelta("y", 1)),
            END,
        )
    assert heard == [A, ReasoningDelta("rs", 1), ContentDelta("bc"), ContentDelta("xy", 1), END]


async def test_an_event_is_no_larger_than_allowed() -> None:
    async with Busy(most_bytes=4) as busy:
        heard = await busy.heard(*(ContentDelta("é") for _ in range(5)), END)
    assert heard == [ContentDelta("é"), ContentDelta("éé"), ContentDelta("éé"), END]


async def test_log_probabilities_count_as_text_does() -> None:
    told = ContentDelta("a", 0, (TokenLogprob(1, b"a", -0.1),))
    async with Busy(most_bytes=100) as busy:
        heard = await busy.heard(*[told] * 4, END)
    assert [len(each.logprobs) for each in heard if isinstance(each, ContentDelta)] == [1, 2, 1]


@pytest.mark.parametrize("most_seconds", [None, 0.0], ids=["gathered", "every token"])
async def test_nothing_is_read_while_nobody_takes_what_was_said(most_seconds: float | None) -> None:
    async with Busy() as busy:
        speaker = Speaker(*[A] * 100)
        async with aclosing(busy.coalescing.gathered(speaker.events(), most_seconds)) as events:
            await anext(events)
            await settled()
            assert speaker.taken == 1


async def test_a_run_that_is_closed_while_it_gathers_is_closed_to_its_end() -> None:
    async with Busy() as busy:
        speaker = Speaker(A, B)
        events = busy.coalescing.gathered(speaker.events())
        await anext(events)
        following = asyncio.ensure_future(anext(events))
        await settled()
        following.cancel()
        await asyncio.wait({following})
        await events.aclose()
    assert speaker.closed
    assert busy.coalescing.window() == 0


async def test_a_failure_comes_after_what_was_said_before_it() -> None:
    async def breaks() -> AsyncGenerator[RunEvent, None]:
        for event in (A, B, C):
            yield event
        raise RuntimeError("no")

    async with Busy() as busy, aclosing(busy.coalescing.gathered(breaks())) as events:
        assert [await anext(events) for _ in range(2)] == [A, ContentDelta("bc")]
        with pytest.raises(RuntimeError, match="no"):
            await anext(events)


async def test_runs_that_wait_for_tools_or_for_the_model_make_no_load() -> None:
    coalescing = Coalescing(Gathering(WINDOW))
    started = Started("scripted", 10)
    async with AsyncExitStack() as stack:
        for _ in range(MANY_STREAMS):
            speaker = Speaker(started, A, RunUsage())
            events = await stack.enter_async_context(aclosing(coalescing.gathered(speaker.events())))
            for _ in range(3):
                await anext(events)
        assert coalescing.window() == 0


# A stream over mTLS beside others, as a client sees it.


def spoken(events: Sequence[chat_pb2.ChatEvent]) -> str:
    return "".join(event.content_delta.text for event in events)


async def test_every_reader_of_a_loaded_replica_gets_the_same_text_in_fewer_events(
    replica: Replica, tokens: TokenMaker
) -> None:
    metadata = tokens.metadata(*PERMISSIONS)
    gates = [Gate() for _ in range(MANY_STREAMS)]
    words = [ContentDelta(f"{number} ") for number in range(20)]
    turn = [*words, Step((), TurnUsage(10, 20), TurnEnd(StopReason.STOP))]
    others = [[A, gate, TurnEnd(StopReason.STOP)] for gate in gates]
    engine = ScriptedEngine(*others, turn, turn, turn)
    # A window so long that only the answer's end closes it.
    async with (
        asyncio.timeout(60),
        replica(engine, coalescing=Coalescing(Gathering(1.0))) as process,
    ):
        busy = [asyncio.ensure_future(read(process.stub.Chat(chat(), metadata=metadata))) for _ in gates]
        for gate in gates:
            await gate.reached.wait()
        plain = await read(process.stub.Chat(chat(), metadata=metadata))
        kept = await read(
            process.stub.Chat(chat(resume_window=duration_pb2.Duration(seconds=30)), metadata=metadata)
        )
        every = await read(
            process.stub.Chat(chat(max_event_delay=duration_pb2.Duration()), metadata=metadata)
        )
        for gate in gates:
            gate.open.set()
        assert {reason(await events) for events in busy} == {"STOP"}
    assert spoken(plain) == spoken(kept) == spoken(every) == "".join(word.text for word in words)
    assert kinds(plain) == kinds(kept) == ["started", *["content_delta"] * 2, "usage", "finished"]
    assert kinds(every).count("content_delta") == len(words)
    for events in (plain, kept, every):
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
