"""What `parley bench` measures of a running platform, on a replica whose engine takes its time by script."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cli.bench import memory, slow_readers
from cli.bench.cancel import Workload, cancel_figures
from cli.bench.cancel import figures_of as figures_of_cuts
from cli.bench.cuts import Way
from cli.bench.figures import Figure
from cli.bench.prompts import long_questions
from cli.bench.sides import RUNNING, WAITING, WholePath
from cli.bench.spans import turn_ends
from cli.bench.tool_cuts import ToolNotCalled, tool_times
from cli.bench.visits import endless_tool
from parley_client.client import Client
from services.inference.engine.model_card import Capability, ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.turn import ToolCall, Turn
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from services.inference.runs.slow_readers import GIVEN_UP
from services.inference.seating.seats import Seats
from services.rpc.trace_export import tracing
from tests.conftest import TokenMaker
from tests.inference.replicas import Identity, InferenceProcess, Replica, as_edge, settings_for
from tests.inference.scripted_tools import ToolsProcess

STREAMS = 2
LONG_PROMPT, PREFILL_SECONDS, STEP_SECONDS = 50, 0.5, 0.05
WAIT_SECONDS = 30.0
PERMISSIONS = ("inference.chat", "inference.models", "models.*", "tools.list", "tools.execute")


class TimedEngine:
    """Reads a long prompt slowly, then says a text for each step; calls a tool where it is told to.

    A choice more than one makes a step as long as all that lies between it and a reader. Who babbles writes
    calls without an end. A token is a byte.
    """

    def __init__(self, step_seconds: float = STEP_SECONDS, *, babbles: bool = False) -> None:
        self.card = ModelCard(
            "scripted",
            context_length=4000,
            supports_tools=True,
            capabilities=frozenset(Capability),
            vocabulary_size=256,
        )
        self.biases: list[Mapping[int, float]] = []
        self._babbles = babbles
        self.running, self.slots = 0, 1000
        self._step_seconds = step_seconds

    async def render(self, turn: Turn) -> Prompt:
        return Prompt(sum(len(each.content.split()) for each in turn.messages), native=turn)

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        turn = prompt.native
        assert isinstance(turn, Turn)
        text = "word " * (2**13 if turn.sampling.choice_count > 1 else 1)
        self.running += 1
        try:
            self.biases.append(turn.sampling.logit_bias)
            if turn.tools and not self._babbles:
                call = ToolCall("call-1", turn.tools[0].name, "{}")
                yield Step(
                    (), TurnUsage(prompt.tokens, 1), TurnEnd(StopReason.STOP, (call,)), choice_tokens=1
                )
                return
            await asyncio.sleep(PREFILL_SECONDS if prompt.tokens > LONG_PROMPT else 0)
            for spent in range(1, max_output_tokens + 1):
                await asyncio.sleep(self._step_seconds)
                yield Step((ContentDelta(text),), TurnUsage(prompt.tokens, spent), choice_tokens=spent)
            usage = TurnUsage(prompt.tokens, max_output_tokens)
            yield Step((), usage, TurnEnd(StopReason.LENGTH), choice_tokens=max_output_tokens)
        finally:
            self.running -= 1

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(text.encode())

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class Told:
    """What a replica's process tells of itself, and its engine of what it does."""

    def __init__(self, engine: TimedEngine) -> None:
        self._engine = engine

    async def of(self, *names: str) -> tuple[float, ...]:
        told = {RUNNING: self._engine.running, WAITING: 0, slow_readers.GIVEN_UP: GIVEN_UP._value.get()}
        return tuple(told[name] for name in names)


def path_of(client: Client, engine: TimedEngine) -> WholePath:
    """A path without an edge."""
    return WholePath(client, {"all": os.getpid()}, Told(engine))


class Caller:
    """One who may do all that a bench does."""

    def __init__(self, tokens: TokenMaker) -> None:
        self._metadata = tokens.metadata(*PERMISSIONS)

    async def metadata(self) -> Any:
        return self._metadata


@asynccontextmanager
async def calling(process: InferenceProcess, identity: Identity, tokens: TokenMaker) -> AsyncIterator[Client]:
    async with Client(as_edge(identity("edge"), process.port), Caller(tokens)) as client:
        yield client


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


async def test_runs_are_cut_at_each_moment_in_each_way_and_all_let_go(
    replica: Replica, identity: Identity, tokens: TokenMaker, tools_process: ToolsProcess
) -> None:
    engine = TimedEngine()
    async with turn_ends() as ends, endless_tool() as tool:
        tools_process.service.dials = tool.url
        told = settings_for(identity("inference"), otlp_endpoint=ends.endpoint, trace_ratio=1)
        seats = Seats(STREAMS + 1, max_waiting=100)
        async with (
            tracing(told, "inference") as tracer,
            replica(engine, seats=seats, tracer=tracer) as process,
            calling(process, identity, tokens) as client,
        ):
            path = path_of(client, engine)
            figures = by_name(await cancel_figures(path, ends, tool, Workload(1, STREAMS), "slow"))
            held = await path.cuts(STREAMS, 1, await long_questions(client))
            assert await process.runs.wait_until_empty(WAIT_SECONDS)
    assert (len(held.reading), len(held.speaking)) == (1, 1)
    assert all(f"tool, {way.value}, 1 times: p99" in figures for way in Way)
    # On a machine that is busy a run may have gone further than was meant: its trace tells.
    moments = {name.partition(",")[0] for name in figures if " times: " in name}
    assert moments == {"queue", "prefill", "decode", "tool"}


async def test_a_run_that_is_over_before_its_tool_ran_is_not_waited_for(
    replica: Replica, identity: Identity, tokens: TokenMaker, tools_process: ToolsProcess
) -> None:
    engine = TimedEngine(step_seconds=0, babbles=True)
    async with (
        endless_tool() as tool,
        replica(engine) as process,
        calling(process, identity, tokens) as client,
    ):
        with pytest.raises(ToolNotCalled, match="over before its tool ran: FINISH_REASON_LENGTH"):
            await tool_times(client, tool, 1, "slow")
    # A model that is held to a grammar ends its call as soon as it may.
    assert engine.biases == [{ord("{"): 100, ord("}"): 100}]


def test_the_limit_is_two_steps_of_the_engine_where_those_are_longer() -> None:
    times = {("decode", Way.GONE): [1.0, 9.0]}
    for step, limit in ((0.010, 50), (0.040, 80)):
        figures = by_name(figures_of_cuts(times, [step, step]))
        assert figures["all 2: p99"].target == pytest.approx(limit)
        assert figures["decode, client gone, 2 times: p99"].value == 9


async def test_idle_conversations_are_held_and_those_that_are_lost_are_counted(
    replica: Replica, identity: Identity, tokens: TokenMaker
) -> None:
    workload = memory.Workload(streams=3, seconds=0)
    async with replica(TimedEngine()) as process, calling(process, identity, tokens) as client:
        kept = await memory.idle(client, {"all": os.getpid()}, workload)
    figures = by_name(memory.figures_of(workload, kept))
    assert figures["of 3 streams lost in 0 s"].value == 0
    assert figures["an idle stream in all processes"].target == 60
    kept = memory.Kept({"edge": 10 / 3, "inference": 20}, lost=1)
    figures = by_name(memory.figures_of(workload, kept))
    assert figures["an idle stream in inference"].value == 20
    assert figures["an idle stream in all processes"].value == pytest.approx(70 / 3)
    assert figures["of 3 streams lost in 0 s"].value == 1


async def test_readers_that_do_not_read_are_given_up_for_a_reason_that_they_learn(
    replica: Replica, identity: Identity, tokens: TokenMaker
) -> None:
    workload, found = slow_readers.Workload(streams=1, readers=2, rounds=1, tokens=4), slow_readers.Found()
    engine = TimedEngine(step_seconds=0.01)
    async with (
        replica(engine, reader_seconds=0.5) as process,
        calling(process, identity, tokens) as client,
    ):
        await slow_readers.measure_path(path_of(client, engine), workload, found)
        assert await process.runs.wait_until_empty(WAIT_SECONDS)
    figures = by_name(slow_readers.figures_of(workload, found))
    assert figures["of 2 of them ended otherwise than typed"].value == 0
    assert figures["1 streams beside 2 readers that do not"].value > 0
    assert figures["the streams are slower beside those that do not read, times"].value > 0
