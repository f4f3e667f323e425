"""The engine alone, and the whole path through the edge, as sides of a comparison."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cli.bench.answering import Answering, Hold
from cli.bench.deadline import within
from cli.bench.load import Chunk, Round
from cli.bench.numbers import Metrics, Numbers
from cli.bench.process import measured_process
from cli.bench.seats import Held
from cli.bench.streams import Ask, Load
from cli.credentials import local_login
from cli.failures import CommandError, ExitCode
from cli.home import Home
from cli.local.preflight import free_port
from parley.inference.v1 import chat_pb2
from parley_client.channel import open_channel
from parley_client.client import Client, question

START_SECONDS = 900.0
ROUND_SECONDS = 600.0
ORDER_SECONDS = 1800.0
"""What an order may take at most; whoever gives it knows better."""

RUNNING = "parley_inference_engine_running_requests"
WAITING = "parley_inference_engine_waiting_requests"
TEXT = ("content_delta", "reasoning_delta")


class EngineAlone:
    """The engine in a process of its own (`cli.bench.engine`), which opens its streams there."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Order from a process that starts, and writes this log."""
        self._process = process
        self._log = log
        self.pids = {"engine": process.pid}

    @classmethod
    @asynccontextmanager
    async def started(
        cls,
        settings: Mapping[str, Any],
        threads: Mapping[str, str],
        scratch: Path,
        *,
        tells: bool = True,
        program: Sequence[str] = ("-m", "cli.bench.engine"),
    ) -> AsyncIterator[EngineAlone]:
        """Loads the engine, and ends it afterwards.

        Args:
            settings: Those of `EngineSettings`.
            threads: Variables that name its cores.
            scratch: A folder for what it says.
            tells: Whether the engine counts its requests after each step, as in a service.
            program: What Python runs there.

        Raises:
            CommandError: It did not load.
        """
        command = (sys.executable, "-P", *program)
        log = scratch / "engine.log"
        async with measured_process(command, threads, log, takes_orders=True) as process:
            side = cls(process, log)
            await side._send({"settings": dict(settings), "tells": tells}, START_SECONDS)
            yield side

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        async with within(ROUND_SECONDS, "streams of the engine alone"):
            return Round.from_fields(await self._order("measure", streams=streams, tokens=tokens))

    async def answers(self, questions: int, requests: int, tokens: int) -> list[float]:
        """See `Side.answers`."""
        answer = await self._order("answers", questions=questions, requests=requests, tokens=tokens)
        return [float(each) for each in answer]

    async def cuts(self, streams: int, samples: int, questions: int) -> Held:
        """See `Side.cuts`."""
        return Held(**await self._order("cuts", streams=streams, samples=samples, questions=questions))

    async def hold(self, how: Hold, count: int) -> None:
        """See `Side.hold`."""
        await self._order("hold", how=how, count=count)

    async def lost(self) -> int:
        """See `Side.lost`."""
        return int(await self._order("lost"))

    async def release(self) -> None:
        """See `Side.release`."""
        await self._order("release")

    async def _order(self, order: str, **arguments: Any) -> Any:
        return await self._send({"do": order, "with": arguments}, ORDER_SECONDS)

    async def _send(self, order: Mapping[str, Any], seconds: float) -> Any:
        """Sends an order and gives the line that answers it.

        Raises:
            CommandError: The process ended, or takes too long.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - both are pipes
        assert stdout is not None  # noqa: S101
        stdin.write(json.dumps(dict(order)).encode() + b"\n")
        async with within(seconds, "the engine alone"):
            answer = await stdout.readline()
        if not answer:
            message = f"The engine alone did not start, or died: {last_line(self._log)}"
            raise CommandError(message, "`parley doctor` looks at this machine.", ExitCode.MACHINE)
        return json.loads(answer)


class WholePath(Answering):
    """A stack of its own, called as any client would."""

    def __init__(self, client: Client, pids: Mapping[str, int], metrics: Metrics) -> None:
        """Call a running stack.

        Args:
            client: Calls it.
            pids: Its processes, by name.
            metrics: Those of its inference service.
        """
        super().__init__()
        self.client = client
        self.pids = dict(pids)
        self.metrics = metrics

    @classmethod
    @asynccontextmanager
    async def started(
        cls, model: Path, scratch: Path, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[WholePath]:
        """Starts the stack, and ends it afterwards.

        Args:
            model: The model's folder.
            scratch: A folder for all that the stack keeps.
            settings: Variables of its processes, beside those of this one.

        Raises:
            CommandError: It did not start.
        """
        from aiohttp import ClientSession

        home = Home(scratch / "home")
        address, told = (f"127.0.0.1:{free_port()}" for _ in range(2))
        own = {
            "PARLEY_HOME": str(home.path),
            "PARLEY_EDGE_LISTEN_ADDRESS": address,
            "PARLEY_INFERENCE_METRICS_ADDRESS": told,
        }
        command = (sys.executable, "-P", "-m", "cli", "up", "--model", str(model))
        log = scratch / "up.log"
        async with measured_process(command, {**(settings or {}), **own}, log) as process:
            await _until_answering(process, log)
            async with (
                Client(open_channel(address, authority=home.authority_path)) as client,
                ClientSession(f"http://{told}") as session,
            ):
                client.credentials = await local_login(home, client)
                state = home.read_state()
                processes = state.processes if state is not None else {}
                pids = {name: each.pid for name, each in processes.items()}
                yield cls(client, pids, Numbers(session))

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[AsyncIterator[Chunk]]:
        """See `Answering.stream`."""
        async with self.client.chat(chat_request(ask)) as events:
            yield _chunks(events)

    async def load(self) -> Load:
        """See `Answering.load`."""
        running, waiting = await self.metrics.of(RUNNING, WAITING)
        return Load(int(running), int(waiting))

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        async with within(ROUND_SECONDS, "streams through the edge"):
            return await super().measure(streams, tokens)


def chat_request(ask: Ask) -> chat_pb2.ChatRequest:
    """What is asked, in the contract's words."""
    request = question(ask.text, all_tools=False)
    sampling = request.sampling
    sampling.ignore_eos = True
    if ask.tokens:
        sampling.max_output_tokens = ask.tokens
    else:
        request.max_event_delay.FromMilliseconds(0)
    if ask.temperature is not None:
        sampling.temperature = ask.temperature
    if ask.choices > 1:
        sampling.choice_count = ask.choices
    if ask.top_logprobs is not None:
        sampling.top_logprobs = ask.top_logprobs
    return request


async def _chunks(events: AsyncIterator[chat_pb2.ChatEvent]) -> AsyncIterator[Chunk]:
    generated = 0
    async for event in events:
        kind = event.WhichOneof("event")
        if kind in TEXT:
            yield Chunk(0)
        elif kind == "usage":
            generated = event.usage.completion_tokens
    yield Chunk(generated, is_text=False)


async def _until_answering(process: asyncio.subprocess.Process, log: Path) -> None:
    """Waits until `parley up` says that it answers.

    Raises:
        CommandError: It ended instead.
    """
    assert process.stdout is not None  # noqa: S101 - a pipe
    async with within(START_SECONDS, "the stack's start"):
        if not await process.stdout.readline():
            raise CommandError(f"The stack did not start: {last_line(log)}", "", ExitCode.MACHINE)


def last_line(log: Path) -> str:
    """What a process said last."""
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "no reason given"
