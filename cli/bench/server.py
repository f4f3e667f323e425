"""vLLM's own HTTP server as a side of the comparison."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.bench.load import Chunk, Round, measure
from cli.bench.process import measured_process
from cli.bench.prompts import bench_question
from cli.bench.sides import ROUND_SECONDS, START_SECONDS, last_line
from cli.failures import CommandError, ExitCode
from cli.preflight import free_port

if TYPE_CHECKING:
    from aiohttp import ClientSession

MODULE = "vllm.entrypoints.openai.api_server"
POLL_SECONDS = 0.5
DATA = b"data: "
DONE = b"[DONE]"


class VllmServer:
    """The server that comes with vLLM, over HTTP without TLS or login, called with streams of JSON."""

    def __init__(self, session: ClientSession, model: str) -> None:
        """Call a running server.

        Args:
            session: Leads to it.
            model: The model's name.
        """
        self._session = session
        self._model = model

    @classmethod
    @asynccontextmanager
    async def started(
        cls, model: Path, kv_bytes: int | None, threads: Mapping[str, str], scratch: Path
    ) -> AsyncIterator[VllmServer]:
        """Loads the model on the settings of the platform's own, and ends the server afterwards.

        Raises:
            CommandError: It did not load.
        """
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        port = free_port()
        command = (sys.executable, "-P", "-m", MODULE, *_arguments(model, kv_bytes, port))
        settings = {**threads, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        log = scratch / "server.log"
        async with measured_process(command, settings, log, answers=False) as process:
            address = f"http://127.0.0.1:{port}"
            timeout, connector = ClientTimeout(total=ROUND_SECONDS), TCPConnector(limit=0)
            async with ClientSession(address, timeout=timeout, connector=connector) as session:
                await _until_healthy(session, process, log)
                yield cls(session, model.name)

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        async with asyncio.timeout(ROUND_SECONDS):
            return await measure(streams, lambda number: self._answer(number, tokens))

    async def _answer(self, number: int, tokens: int) -> AsyncIterator[Chunk]:
        request = {
            "model": self._model,
            "messages": [{"role": "user", "content": bench_question(number)}],
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        generated = 0
        async with self._session.post("/v1/chat/completions", json=request) as answered:
            answered.raise_for_status()
            async for line in answered.content:
                if not line.startswith(DATA) or line.startswith(DONE, len(DATA)):
                    continue
                event = json.loads(line[len(DATA) :])
                if any(choice["delta"].get("content") for choice in event["choices"]):
                    yield Chunk(0)
                if event.get("usage"):
                    generated = event["usage"]["completion_tokens"]
        yield Chunk(generated, is_text=False)


def _arguments(model: Path, kv_bytes: int | None, port: int) -> list[str]:
    """The platform's own settings (`services.inference.vllm_start`), as the server takes them."""
    arguments = ["--model", str(model), "--served-model-name", model.name]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    if kv_bytes is not None:
        arguments += ["--kv-cache-memory-bytes", str(kv_bytes), "--enforce-eager"]
    return arguments


async def _until_healthy(session: ClientSession, process: asyncio.subprocess.Process, log: Path) -> None:
    """Waits until the server answers.

    Raises:
        CommandError: It ended instead.
    """
    from aiohttp import ClientError

    async with asyncio.timeout(START_SECONDS):
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
