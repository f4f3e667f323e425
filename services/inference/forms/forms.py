"""Proves that the form of an answer compiles, before the engine sees it.

The engine compiles a form in its own process, beside all requests that it
serves, and nothing there can stop it. So a process of our own does it first,
with the engine's compiler and tokens, and is killed when it takes too long.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from typing import Any, cast

from cachetools import LRUCache

from services.inference.calling.client_tools import MAX_DEPTH, depth
from services.inference.engine.options import FormKind
from services.inference.errors import StructuredOutputInvalid, StructuredOutputTooComplex
from services.rpc.errors import Overloaded
from services.rpc.tasks import end_task

FIELD = "structured_output"
SCHEMA_FIELD = f"{FIELD}.{FormKind.JSON_SCHEMA.value}"
COMPILED = frozenset({"json_schema", "regex", "grammar", "structural_tag"})
MOST_SECONDS = 10.0
# The process imports torch.
START_SECONDS = 180.0
# What a form may take of the engine, in seconds: its client reads it once more on the
# event loop, where that holds up every stream, and no request makes a step while the
# engine looks for what the form allows next.
MOST_OF_THE_ENGINE = {"reading_seconds": 0.25, "step_seconds": 0.05}
MOST_WAITING = 16
KNOWN_FORMS = 1024
# A line has a form, or the tokens of a model.
LINE_BYTES = 2**20


class Forms:
    """Compiles forms, one at a time, and remembers which did."""

    def __init__(self, tokens: Callable[[], str], seconds: float = MOST_SECONDS) -> None:
        """Compile forms for these tokens.

        Args:
            tokens: Gives them as xgrammar serializes them; empty means bytes. Called off the event loop.
            seconds: Time that a form may take.
        """
        self._tokens = tokens
        self._seconds = seconds
        self._good: LRUCache[bytes, bool] = LRUCache(KNOWN_FORMS)
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Task[dict[str, Any]]] = set()
        self._worker: Process | None = None

    async def check(self, kind: str, text: str, field: str) -> None:
        """Compile a form, unless it is known to compile or needs no proof.

        Args:
            kind: What it is, as `form_worker` reads it.
            text: The form.
            field: The field that asks for it.

        Raises:
            StructuredOutputInvalid: It does not compile.
            StructuredOutputTooComplex: It takes too much.
            Overloaded: Too many forms wait already.
        """
        digest = hashlib.sha256(f"{kind} {text}".encode()).digest()
        if kind in COMPILED and digest not in self._good:
            await self._compile(kind, text, field)
            self._good[digest] = True

    async def _compile(self, kind: str, text: str, field: str) -> None:
        if len(self._asked) >= MOST_WAITING:
            raise Overloaded("Too many forms of answers are being compiled; try again.")
        asked = asyncio.create_task(self._ask({"kind": kind, "text": text}))
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        # Who is no longer waited for is not killed: the next would wait for another to start.
        answer = await asyncio.shield(asked)
        field = f"{field}.{kind}" if field == FIELD else field
        if "fault" in answer:
            raise StructuredOutputInvalid(field, answer["fault"])
        if any(answer.get(name, most) >= most for name, most in MOST_OF_THE_ENGINE.items()):
            raise StructuredOutputTooComplex(field, self._seconds)

    async def _ask(self, question: dict[str, str]) -> dict[str, Any]:
        """The process's answer; nothing where it took too long, or died of it."""
        async with self._turn:
            worker = await self._running()
            try:
                async with asyncio.timeout(self._seconds):
                    return await _exchange(worker, question)
            except (TimeoutError, ConnectionError, EOFError):
                await self._end_worker()
                return {}

    async def _running(self) -> Process:
        """The process, started if there is none.

        Raises:
            Overloaded: The machine is too busy to start it.
        """
        if self._worker is None or self._worker.returncode is not None:
            command = (sys.executable, "-W", "ignore", "-m", "services.inference.forms.worker")
            self._worker = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=LINE_BYTES
            )
            try:
                async with asyncio.timeout(START_SECONDS):
                    await _exchange(self._worker, await asyncio.to_thread(self._tokens))
            except (TimeoutError, ConnectionError, EOFError):
                await self._end_worker()
                raise Overloaded("What compiles forms of answers did not start; try again.") from None
        return self._worker

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and worker.returncode is None:
            worker.kill()
            await worker.wait()

    async def close(self) -> None:
        """End the process, and whatever waits for it."""
        for asked in tuple(self._asked):
            await end_task(asked)
        await self._end_worker()


async def _exchange(worker: Process, question: Any) -> dict[str, Any]:
    """Write a line and read one.

    Raises:
        EOFError: The process ended.
        ConnectionError: It did while it was written to.
    """
    # Both are pipes: the process was started so.
    to, back = cast("StreamWriter", worker.stdin), cast("StreamReader", worker.stdout)
    to.write(json.dumps(question).encode() + b"\n")
    await to.drain()
    line = await back.readline()
    if not line:
        raise EOFError
    answer: dict[str, Any] = json.loads(line)
    return answer


def check_schema(text: str) -> dict[str, Any]:
    """The schema, unless it is none at all or too deep for those that walk through it.

    Raises:
        StructuredOutputInvalid: It is.
    """
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise StructuredOutputInvalid(SCHEMA_FIELD, "it is no JSON, or too deep") from None
    if not isinstance(schema, dict):
        raise StructuredOutputInvalid(SCHEMA_FIELD, "it is no JSON object")
    if depth(schema) > MAX_DEPTH:
        raise StructuredOutputInvalid(SCHEMA_FIELD, f"it is more than {MAX_DEPTH} levels deep")
    return schema
