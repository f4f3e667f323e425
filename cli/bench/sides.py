"""The two sides of the comparison: the engine alone, and the whole path through the edge."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from cli.bench.load import Chunk, Round, measure
from cli.bench.process import measured_process
from cli.bench.prompts import bench_question
from cli.credentials import local_login
from cli.failures import CommandError, ExitCode
from cli.home import Home
from cli.preflight import free_port
from parley_client.channel import open_channel
from parley_client.client import Client, question

START_SECONDS = 900.0
ROUND_SECONDS = 600.0


class Side(Protocol):
    """Something that can answer a number of streams."""

    async def measure(self, streams: int, tokens: int) -> Round:
        """Answers this many streams of this many tokens at once."""
        ...


class EngineAlone:
    """The engine in a process of its own (`cli.bench.engine`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def started(
        cls, settings: Mapping[str, Any], threads: Mapping[str, str], scratch: Path
    ) -> AsyncIterator[EngineAlone]:
        """Loads the engine, and ends it afterwards.

        Raises:
            CommandError: It did not load.
        """
        command = (sys.executable, "-P", "-m", "cli.bench.engine")
        async with measured_process(command, threads, scratch / "engine.log", takes_orders=True) as process:
            side = cls(process)
            await side._order(settings, START_SECONDS)
            yield side

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        answer = await self._order({"streams": streams, "tokens": tokens}, ROUND_SECONDS)
        return Round.from_fields(json.loads(answer))

    async def _order(self, order: Mapping[str, Any], seconds: float) -> bytes:
        """Sends an order and gives the line that answers it.

        Raises:
            CommandError: The process ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - both are pipes
        assert stdout is not None  # noqa: S101
        stdin.write(json.dumps(dict(order)).encode() + b"\n")
        async with asyncio.timeout(seconds):
            answer = await stdout.readline()
        if not answer:
            message = "The engine alone did not start, or died."
            raise CommandError(message, "`parley doctor` looks at this machine.", ExitCode.MACHINE)
        return answer


class WholePath:
    """A stack of its own, called as any client would."""

    def __init__(self, client: Client, pids: Mapping[str, int]) -> None:
        self._client = client
        self.pids = pids

    @property
    def client(self) -> Client:
        """Calls the stack."""
        return self._client

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
        home = Home(scratch / "home")
        address = f"127.0.0.1:{free_port()}"
        own = {"PARLEY_HOME": str(home.path), "PARLEY_EDGE_LISTEN_ADDRESS": address}
        command = (sys.executable, "-P", "-m", "cli", "up", "--model", str(model))
        log = scratch / "up.log"
        async with measured_process(command, {**(settings or {}), **own}, log) as process:
            await _until_answering(process, log)
            async with Client(open_channel(address, authority=home.authority_path)) as client:
                client.credentials = await local_login(home, client)
                state = home.read_state()
                processes = state.processes if state is not None else {}
                yield cls(client, {name: each.pid for name, each in processes.items()})

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        async with asyncio.timeout(ROUND_SECONDS):
            return await measure(streams, lambda number: answer(self._client, number, tokens))


async def answer(client: Client, number: int, tokens: int) -> AsyncIterator[Chunk]:
    """The answer to a stream's question, in so many tokens."""
    request = question(bench_question(number), all_tools=False)
    request.sampling.max_output_tokens = tokens
    generated = 0
    async with client.chat(request) as events:
        async for event in events:
            kind = event.WhichOneof("event")
            if kind in ("content_delta", "reasoning_delta"):
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
    async with asyncio.timeout(START_SECONDS):
        if not await process.stdout.readline():
            raise CommandError(f"The stack did not start: {last_line(log)}", "", ExitCode.MACHINE)


def last_line(log: Path) -> str:
    """What a process said last."""
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "no reason given"
