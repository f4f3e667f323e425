"""The life of a model in this process: load, warm up, serve, and say so when it dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import structlog

from services.inference.engine.embedder import Embedder, Form
from services.inference.engine.port import Engine
from services.inference.engine.turn import Message, Role, Turn
from services.inference.models import Models
from services.inference.preflight import StartError
from services.inference.runs.registry import RunRegistry
from services.rpc.errors import ServiceError

# Time in which the runs of a dead engine tell their clients.
FAREWELL_SECONDS = 2.0

Load = Callable[[], Awaitable[Engine | Embedder]]
SetServing = Callable[[bool], Awaitable[None]]


class EngineDiedError(Exception):
    """The engine died; the process must end so that its supervisor starts it again."""


class ModelLife:
    """Takes one model from its files to its end."""

    def __init__(
        self, name: str, load: Load, models: Models, runs: RunRegistry, set_serving: SetServing
    ) -> None:
        """Care for this model.

        Args:
            name: The name under which it is served.
            load: Loads its engine.
            models: Told of its state.
            runs: The runs that it answers.
            set_serving: Tells health checks.
        """
        self._name = name
        self._load = load
        self._models = models
        self._runs = runs
        self._set_serving = set_serving
        self._log = structlog.get_logger("parley.inference").bind(model=name)

    async def run(self, load_seconds: float) -> None:
        """Load the model within this time and serve it until its engine dies.

        Raises:
            StartError: It cannot be loaded, or does not answer.
            EngineDiedError: It died.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(load_seconds):
                self._log.info("loading the model (step 1 of 2)")
                engine = await self._load()
        except TimeoutError:
            raise StartError(f"The model {self._name} did not load in {load_seconds:.0f} s.") from None
        try:
            self._log.info("warming up (step 2 of 2)", seconds=round(time.monotonic() - began, 1))
            await self._warm_up(engine, load_seconds)
            self._models.ready(self._name, engine)
            await self._set_serving(True)
            self._log.info("ready", seconds=round(time.monotonic() - began, 1))
            await engine.failed()
            await self._say_farewell()
            raise EngineDiedError(f"The engine of {self._name} died.")
        finally:
            await engine.close()

    async def _warm_up(self, engine: Engine | Embedder, seconds: float) -> None:
        """Have it answer once: compiled parts, caches and the template are then in place."""
        try:
            async with asyncio.timeout(seconds):
                if isinstance(engine, Embedder):
                    await engine.embed(await engine.read("Hello", cut=True), Form(), "warm-up")
                else:
                    await _chat(engine)
        except TimeoutError:
            raise StartError(f"The model {self._name} did not answer in {seconds:.0f} s.") from None
        except ServiceError as error:
            raise StartError(f"The model {self._name} did not answer: {error.message}") from error

    async def _say_farewell(self) -> None:
        """Let the runs end with their typed error."""
        self._log.error("the engine died", runs=len(self._runs))
        self._models.failed(self._name)
        await self._set_serving(False)
        await self._runs.wait_until_empty(FAREWELL_SECONDS)


async def _chat(engine: Engine) -> None:
    prompt = await engine.render(Turn((Message(Role.USER, "Hello"),)))
    async with aclosing(engine.generate(prompt, max_output_tokens=2, request_id="warm-up")) as steps:
        async for _ in steps:
            pass
