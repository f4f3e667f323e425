"""What a side of a comparison is asked, answered by a script and by a server that speaks as vLLM's does."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from cli.bench import memory, slow_readers
from cli.bench.answering import CHOICES, Hold, holding
from cli.bench.cancel import held_figures
from cli.bench.deadline import within
from cli.bench.figures import Figure
from cli.bench.place import beside
from cli.bench.seats import Held
from cli.bench.server import VllmServer
from cli.bench.sides import EngineAlone
from cli.failures import CommandError
from tests.cli.bench import scripted_side
from tests.cli.bench.scripted_side import ScriptedSide

ORDERED = (scripted_side.__file__,)
STEP_SECONDS = 0.002


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


class LikeVllm:
    """Answers as vLLM's server does: a word for each step to every choice, and how many it answers."""

    def __init__(self, *, cuts_after: int = 100_000) -> None:
        self.requests: list[dict[str, object]] = []
        self._running = 0
        self._cuts_after = cuts_after

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._running += 1
        try:
            await answer.prepare(request)
            await self._event(answer, [{"delta": {"role": "assistant", "content": ""}}], None)
            tokens = asked.get("max_tokens") or 100_000
            for number in range(tokens):
                await asyncio.sleep(STEP_SECONDS)
                if number == self._cuts_after:
                    assert request.transport is not None
                    request.transport.abort()
                await self._event(answer, [{"delta": {"content": "word "}} for _ in range(asked["n"])], None)
            await self._event(answer, [], {"completion_tokens": tokens})
            await answer.write(b"data: [DONE]\n\n")
        finally:
            self._running -= 1
        return answer

    async def metrics(self, request: web.Request) -> web.Response:
        del request
        name = "vllm:num_requests_running"
        lines = (f"# TYPE {name} gauge", f'{name}{{engine="0",model_name="demo"}} {self._running}.0', "")
        return web.Response(text="\n".join(lines))

    @staticmethod
    async def _event(answer: web.StreamResponse, choices: list[object], usage: object) -> None:
        event = {"choices": choices, "usage": usage}
        await answer.write(f"data: {json.dumps(event)}\n\n".encode())


@asynccontextmanager
async def serving(like: LikeVllm) -> AsyncIterator[VllmServer]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", like.answer)
    app.router.add_get("/metrics/", like.metrics)
    async with (
        TestServer(app, handler_cancellation=True) as running,
        ClientSession(running.make_url("/")) as session,
    ):
        yield VllmServer(session, "demo", os.getpid())


async def test_the_server_is_measured_by_what_it_streams() -> None:
    like = LikeVllm()
    async with serving(like) as server:
        done = await server.measure(2, 3)
        (taken,) = await server.answers(1, 1, 3)
    assert (done.streams, done.tokens) == (2, 6)
    assert (len(done.first_seconds), len(done.gap_seconds)) == (2, 4)
    assert taken >= 3 * 1000 * STEP_SECONDS
    assert [each.get("temperature") for each in like.requests] == [None, None, 0]
    assert all(each["ignore_eos"] for each in like.requests)


async def test_a_closed_connection_is_gone_from_the_servers_own_count() -> None:
    async with serving(LikeVllm()) as server:
        held = await server.cuts(streams=2, samples=2, questions=3)
        assert (await server.load()).running == 0
    assert len(held.reading) == len(held.speaking) == 2
    assert min(held.reading + held.speaking) > 0
    assert min(map(len, (held.looks, held.gaps))) > 0


@pytest.mark.parametrize(("cuts_after", "lost"), [(100_000, 0), (20, 2)])
async def test_a_reader_that_is_held_is_lost_when_the_server_cuts_it(cuts_after: int, lost: int) -> None:
    like = LikeVllm(cuts_after=cuts_after)
    async with serving(like) as server:
        async with holding(server, Hold.READ, 2), within(10, "readers"):
            while await server.lost() != lost:  # noqa: ASYNC110 - a count of another task
                await asyncio.sleep(STEP_SECONDS)
        assert {each["n"] for each in like.requests} == {CHOICES}


async def test_a_refusal_of_the_server_is_told() -> None:
    async with TestServer(web.Application()) as running, ClientSession(running.make_url("/")) as session:
        with pytest.raises(CommandError, match="vLLM's own server failed: 404"):
            await VllmServer(session, "demo", os.getpid()).measure(1, 1)


async def test_requests_wait_for_the_only_seat_and_are_all_let_go() -> None:
    side = ScriptedSide(seats=1)
    kept = await memory.waiting(side, memory.Workload(streams=40, seconds=0))
    assert kept.lost == 0
    assert set(kept.kib) == {"all"}
    assert await side.load() == (0, 0)
    assert len(side.asked) == 2 * 40


async def test_readers_of_a_side_stand_beside_its_streams_and_are_asked_whether_they_last() -> None:
    workload = slow_readers.Workload(streams=1, readers=2, rounds=1, tokens=4)
    found = await slow_readers.measure_side(ScriptedSide(fails_after=40), workload, seconds=0)
    # They were not read beyond their first text until they were asked, and then failed at once.
    assert found.lost == 2
    ours = slow_readers.Found([slow_readers.Rates(10, 12, 8)], {"all": 2 * 2**20})
    figures = by_name(slow_readers.compared("a side", workload, found, ours))
    assert figures["a side: of 2 of them it ended"].value == 2
    name = "a side: slower beside readers that do not read, the path to it"
    assert figures[name].value == pytest.approx(1.5 / found.slowdown)


async def test_an_engine_of_its_own_process_does_as_it_is_ordered(tmp_path: Path) -> None:
    settings = {"max_running_requests": 4}
    async with EngineAlone.started(settings, {}, tmp_path, program=ORDERED) as engine:
        assert (await engine.measure(2, 3)).tokens == 6
        assert len(await engine.answers(1, 2, 3)) == 2
        held = await engine.cuts(2, 1, 3)
        assert (len(held.reading), len(held.speaking)) == (1, 1)
        async with holding(engine, Hold.UNREAD, 2):
            # Those that are held have two of the four seats.
            assert (await engine.measure(2, 3)).tokens == 6
        async with holding(engine, Hold.QUEUED, 8):
            assert await engine.lost() == 0


async def test_an_engine_that_dies_is_told_by_what_it_said_last(tmp_path: Path) -> None:
    program = ("-c", "import sys; sys.exit('no such thing')")
    with pytest.raises(CommandError, match="did not start, or died: no such thing"):
        async with EngineAlone.started({}, {}, tmp_path, program=program):
            raise AssertionError


async def test_what_does_not_end_is_told() -> None:
    with pytest.raises(CommandError, match=r"did not end within 0.01 s: an answer\."):
        async with within(0.01, "an answer"):
            await asyncio.Event().wait()


def test_the_path_is_a_multiple_of_a_side() -> None:
    figures = [(figure.name, figure.value, figure.unit) for figure in beside("x", "y", 4, 6, "KiB")]
    assert figures == [("x: y", 4, "KiB"), ("x: y, the path to it", 1.5, "times")]
    assert len(beside("x", "nothing grew", 0, 6)) == 1


def test_what_engines_count_is_compared_moment_by_moment() -> None:
    ours, theirs = Held([10.0], [30.0], [3.0], [20.0]), Held([20.0], [20.0], [2.0], [20.0])
    alone = by_name(held_figures("whole path", ours, ours))
    assert alone["whole path: counted after its client left, speaking, p50"].value == 30
    figures = by_name(held_figures("a side", theirs, ours))
    left = "a side: counted after its client left"
    assert figures[f"{left}, prompt read, p50, the path to it"].value == 0.5
    assert figures[f"{left}, speaking, p50, the path to it"].value == 1.5
    assert figures["a side: from one look at the count to the next, p50"].value == 2
