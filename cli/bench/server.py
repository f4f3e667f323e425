"""vLLM's own HTTP server as a side of a comparison."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.bench.answering import Answering
from cli.bench.deadline import within
from cli.bench.load import Chunk, Round
from cli.bench.numbers import Numbers
from cli.bench.process import measured_process
from cli.bench.sides import ROUND_SECONDS, START_SECONDS, last_line
from cli.bench.streams import Ask, Load
from cli.failures import CommandError, ExitCode
from cli.local.preflight import free_port

if TYPE_CHECKING:
    from aiohttp import ClientSession, StreamReader

MODULE = "vllm.entrypoints.openai.api_server"
RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
POLL_SECONDS = 0.5
DATA = b"data: "
DONE = b"[DONE]"


class VllmServer(Answering):
    """The server that comes with vLLM, over HTTP without TLS or login, called with streams of JSON."""

    def __init__(self, session: ClientSession, model: str, pid: int) -> None:
        """Call a running server.

        Args:
            session: Leads to it.
            model: The model's name.
            pid: Its process.
        """
        super().__init__()
        self.pids = {"server": pid}
        self._session = session
        self._model = model
        self._numbers = Numbers(session)

    @classmethod
    @asynccontextmanager
    async def started(
        cls, engine: Mapping[str, Any], threads: Mapping[str, str], scratch: Path
    ) -> AsyncIterator[VllmServer]:
        """Loads the model on the settings of the platform's own, and ends the server afterwards.

        Args:
            engine: Those of `EngineSettings`.
            threads: Variables that name its cores.
            scratch: A folder for what it says.

        Raises:
            CommandError: It did not load.
        """
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        port = free_port()
        command = (sys.executable, "-P", "-m", MODULE, *_arguments(engine, port))
        settings = {**threads, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        log = scratch / "server.log"
        async with measured_process(command, settings, log, answers=False) as process:
            address = f"http://127.0.0.1:{port}"
            _take_connections()
            # A stream may be held for long; whoever measures bounds it.
            timeout, connector = ClientTimeout(total=None), TCPConnector(limit=0)
            async with ClientSession(address, timeout=timeout, connector=connector) as session:
                await _until_healthy(session, process, log)
                yield cls(session, engine["name"], process.pid)

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        async with within(ROUND_SECONDS, "streams of vLLM's own server"):
            return await super().measure(streams, tokens)

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[AsyncIterator[Chunk]]:
        """See `Answering.stream`.

        Raises:
            CommandError: The server refuses, or cuts the answer.
        """
        from aiohttp import ClientError

        try:
            async with self._session.post("/v1/chat/completions", json=self._request(ask)) as answered:
                answered.raise_for_status()
                try:
                    yield _chunks(answered.content)
                finally:
                    answered.close()
        except ClientError as error:
            raise CommandError(f"vLLM's own server failed: {error}", "", ExitCode.FAILED) from error

    async def load(self) -> Load:
        """See `Answering.load`."""
        running, waiting = await self._numbers.of(RUNNING, WAITING)
        return Load(int(running), int(waiting))

    def _request(self, ask: Ask) -> dict[str, Any]:
        request = {
            "model": self._model,
            "messages": [{"role": "user", "content": ask.text}],
            "max_tokens": ask.tokens or None,
            "ignore_eos": True,
            "temperature": ask.temperature,
            "n": ask.choices,
            "logprobs": ask.top_logprobs is not None,
            "top_logprobs": ask.top_logprobs,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return {name: value for name, value in request.items() if value is not None}


async def _chunks(content: StreamReader) -> AsyncIterator[Chunk]:
    """What the events of an answer account for."""
    generated = 0
    async for line in _lines(content):
        if not line.startswith(DATA) or line.startswith(DONE, len(DATA)):
            continue
        event = json.loads(line[len(DATA) :])
        if any(choice["delta"].get("content") for choice in event["choices"]):
            yield Chunk(0)
        if event.get("usage"):
            generated = event["usage"]["completion_tokens"]
    yield Chunk(generated, is_text=False)


async def _lines(content: StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; what gathered for one who did not read is one event."""
    begun = b""
    async for piece in content.iter_any():
        *whole, begun = (begun + piece).split(b"\n")
        for line in whole:
            yield line


def _take_connections() -> None:
    """Let this process have as many as it may: each stream over HTTP/1.1 has its own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _arguments(engine: Mapping[str, Any], port: int) -> list[str]:
    """The platform's own settings (`services.inference.vllm.start`), as the server takes them."""
    arguments = ["--model", engine["model"], "--served-model-name", engine["name"]]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    if engine["kv_cache_bytes"] is not None:
        arguments += ["--kv-cache-memory-bytes", str(engine["kv_cache_bytes"]), "--enforce-eager"]
    if engine["max_running_requests"]:
        arguments += ["--max-num-seqs", str(engine["max_running_requests"])]
    return arguments


async def _until_healthy(session: ClientSession, process: asyncio.subprocess.Process, log: Path) -> None:
    """Waits until the server answers.

    Raises:
        CommandError: It ended instead.
    """
    from aiohttp import ClientError

    async with within(START_SECONDS, "the start of vLLM's own server"):
        while process.returncode is None:
            try:
                async with session.get("/health") as answered:
                    if answered.status == 200:
                        return
            except ClientError:
                pass
            await asyncio.sleep(POLL_SECONDS)
    message = f"vLLM's own server did not start: {last_line(log)}"
    raise CommandError(message, "`--no-server` measures without it.", ExitCode.MACHINE)
