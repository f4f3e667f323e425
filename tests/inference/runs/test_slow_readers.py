"""A client that does not read holds up itself alone, and in the end is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from services.inference.errors import ReaderTooSlow
from services.inference.metrics import RUNS
from services.inference.reading.step import ContentDelta, StopReason, TurnEnd
from services.inference.resumption.tape import Bounds
from services.inference.runs.slow_readers import CUT, GIVEN_UP, read_in_time
from tests.conftest import TokenMaker
from tests.inference.clock import Clock
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.scripted import Gate, Line, ScriptedEngine, says
from tests.inference.talk import Talk
from tests.inference.test_resumption import rest, run_of, window
from tests.inference.test_servicer import PERMISSIONS, chat, read, reason, refusal, wait_until_free

PATIENCE = 30.0
# For real clients: long enough that one that comes back at once is in time.
SECONDS = 5.0
# Far more than all that lies between a replica and a client takes in.
LINE = "x" * 2**16
LINES = 256
BOUNDS = Bounds(run_bytes=2**25, total_bytes=2**27, grace_seconds=1)


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


class Telling:
    """Tells three things, and what becomes of the reader."""

    def __init__(self, error: Exception | None = None) -> None:
        self.clock = Clock()
        self.error = error
        self.given_up = 0
        self.cut = asyncio.Event()
        self.closed = False

    def read(self) -> AsyncGenerator[str, None]:
        return read_in_time(self._items(), PATIENCE, self._give_up, self.cut.set, self.clock)

    async def _items(self) -> AsyncGenerator[str, None]:
        try:
            for item in ("one", "two", "three"):
                if self.given_up:
                    yield "the end"
                    return
                yield item
        finally:
            self.closed = True

    def _give_up(self) -> Exception | None:
        self.given_up += 1
        return self.error


async def test_a_reader_that_takes_each_in_time_reads_all() -> None:
    telling, heard = Telling(), []
    async for item in telling.read():
        heard.append(item)
        telling.clock.go(PATIENCE * 0.9)
    assert (heard, telling.given_up, telling.closed) == (["one", "two", "three"], 0, True)


async def test_time_that_passes_before_there_is_anything_to_read_does_not_count() -> None:
    telling = Telling()
    async with aclosing(telling.read()) as items:
        await anext(items)
        following = asyncio.ensure_future(anext(items))
        await following
    telling.clock.go(PATIENCE * 10)
    assert telling.given_up == 0


async def test_a_slow_reader_that_comes_back_hears_how_it_ended() -> None:
    telling = Telling()
    async with aclosing(telling.read()) as items:
        assert await anext(items) == "one"
        telling.clock.go(PATIENCE)
        assert telling.given_up == 1
        assert [item async for item in items] == ["the end"]


async def test_a_slow_reader_whose_stream_goes_on_without_it_gets_the_error() -> None:
    telling = Telling(ReaderTooSlow(PATIENCE))
    async with aclosing(telling.read()) as items:
        await anext(items)
        telling.clock.go(PATIENCE)
        with pytest.raises(ReaderTooSlow):
            await anext(items)
    assert telling.closed


async def test_a_reader_that_does_not_come_back_is_cut() -> None:
    telling = Telling()
    given_up, cut = GIVEN_UP._value.get(), CUT._value.get()
    async with aclosing(telling.read()) as items:
        await anext(items)
        telling.clock.go(PATIENCE)
        telling.clock.go(PATIENCE * 0.9)
        assert not telling.cut.is_set()
        telling.clock.go(PATIENCE * 0.1)
        assert telling.cut.is_set()
    telling.clock.go(PATIENCE * 10)
    assert telling.given_up == 1
    assert (GIVEN_UP._value.get() - given_up, CUT._value.get() - cut) == (1, 1)


# Over mTLS, with a client that takes one event and leaves the rest.


def flood() -> list[Line]:
    return [*[ContentDelta(LINE)] * LINES, TurnEnd(StopReason.STOP)]


async def first_alone(process: InferenceProcess, metadata: Any, **fields: Any) -> tuple[Any, Any]:
    """A call, and its first event, after which nothing is read."""
    call = process.stub.Chat(chat(**fields), metadata=metadata)
    return call, (await call.read()).event


async def test_a_client_that_does_not_read_frees_its_slot_and_nobody_else_notices(
    replica: Replica, metadata: Any
) -> None:
    gate = Gate()
    other = [ContentDelta("Still"), gate, ContentDelta(" here."), TurnEnd(StopReason.STOP)]
    engine = ScriptedEngine(other, flood(), says("Hello."))
    ended = RUNS.labels("scripted", "SLOW_READER")._value.get()
    async with asyncio.timeout(60), replica(engine, reader_seconds=SECONDS) as process:
        beside = process.stub.Chat(chat(), metadata=metadata)
        await gate.reached.wait()
        call, started = await first_alone(process, metadata)
        while engine.running > 1 or not engine.request_ids[1:]:  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0.01)
        # Its slot is free although it still reads nothing; now it does.
        events = [started, *await read(call)]
        assert reason(events) == "SLOW_READER"
        assert 0 < sum(len(event.content_delta.text) for event in events) < len(LINE) * LINES
        assert reason(await read(process.stub.Chat(chat(), metadata=metadata))) == "STOP"
        gate.open.set()
        assert reason(await read(beside)) == "STOP"
        await wait_until_free(engine, process.runs)
    assert RUNS.labels("scripted", "SLOW_READER")._value.get() - ended == 1


async def test_a_client_that_never_reads_again_is_cut(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(flood())
    async with asyncio.timeout(60), replica(engine, reader_seconds=0.2) as process:
        call, _ = await first_alone(process, metadata)
        while len(process.runs):  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0.01)
        assert engine.running == 0
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await read(call)
    assert refusal(cut.value) == ("READER_TOO_SLOW", {"limit_seconds": "0.2"})


async def test_a_run_with_a_window_goes_on_without_a_reader_that_is_slow(
    replica: Replica, metadata: Any
) -> None:
    engine, cut = ScriptedEngine(flood()), CUT._value.get()
    async with asyncio.timeout(60), replica(engine, reader_seconds=0.2, bounds=BOUNDS) as process:
        call, started = await first_alone(process, metadata, **window())
        while CUT._value.get() == cut:  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await read(call)
        assert refusal(told.value)[0] == "READER_TOO_SLOW"
        await wait_until_free(engine, process.runs)
        last = await rest(process.stub, run_of([started]), LINES, metadata)
    assert reason(last) == "STOP"


async def test_a_conversation_whose_client_does_not_read_ends_with_the_reason(
    replica: Replica, metadata: Any
) -> None:
    engine = ScriptedEngine(flood())
    async with asyncio.timeout(60), replica(engine, reader_seconds=SECONDS) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        while engine.running or not engine.request_ids:  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0.01)
        assert await talk.finish() == "SLOW_READER"
        assert await talk.failure() == "READER_TOO_SLOW"
