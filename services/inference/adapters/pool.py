"""The adapters of one base model at this replica: what is wished for is loaded, what is used is kept."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from services.inference.adapters.adapted_engine import AdaptedEngine
from services.inference.adapters.errors import AdapterInvalid, AdaptersOff, TooManyAdapters
from services.inference.adapters.port import Adapter, AdapterHost
from services.inference.adapters.shelf import AdapterFiles, Shelf
from services.inference.adapters.wishes import Wishes
from services.inference.beat import beating
from services.inference.engine.port import Engine
from services.inference.errors import ModelNotReady
from services.inference.models import Models, ModelState, ServedModel
from services.rpc.errors import ServiceError
from services.rpc.tasks import end_task

LOAD_SECONDS = 25.0
"""Less than clients wait for an answer."""

RETRY_SECONDS = 30.0
"""Between two attempts at an adapter that cannot be loaded: each reads its files."""


def adapter_model(base_model: str, name: str) -> str:
    """The name by which requests ask for an adapter; its beginning tells the edge the pool."""
    return f"{base_model}:{name}"


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An adapter that the engine has.

    Attributes:
        files: What it was loaded from.
        adapter: What the engine knows it as.
        engine: Answers with it.
        host: What it was loaded by.
    """

    files: AdapterFiles
    adapter: Adapter
    engine: AdaptedEngine
    host: AdapterHost


class AdapterPool:
    """Loads and unloads adapters. They are served as models beside their base model."""

    def __init__(self, base_model: str, models: Models, shelf: Shelf | None, wishes: Wishes) -> None:
        """Care for the adapters of one model.

        Args:
            base_model: The model, one of `models`.
            models: The models of this replica.
            shelf: What can be loaded; None where nothing can.
            wishes: What is to be loaded at each replica.
        """
        self.base_model = base_model
        self._models = models
        self._shelf = shelf
        self._wishes = wishes
        self._lock = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._base: Engine | None = None
        self._loaded: dict[str, Loaded] = {}
        self._failed: dict[str, tuple[str, float]] = {}
        self._leaving: dict[Loaded, asyncio.Task[None]] = {}
        self._log = structlog.get_logger("parley.inference").bind(model=base_model)

    @property
    def loaded(self) -> list[Loaded]:
        """Those that answer."""
        return list(self._loaded.values())

    @property
    def leaving(self) -> list[Loaded]:
        """Those that answer only what they began with."""
        return list(self._leaving)

    @property
    def failed(self) -> frozenset[str]:
        """Names of those that are wished for, and cannot be loaded here."""
        return frozenset(self._failed)

    def host(self) -> AdapterHost:
        """What loads them.

        Raises:
            ModelNotReady: The base model does not run.
            AdaptersOff: It takes none.
        """
        return self._running()[1]

    async def names(self) -> list[str]:
        """Those that could be loaded."""
        return await asyncio.to_thread(self._shelf.names) if self._shelf is not None else []

    async def load(self, name: str) -> Loaded:
        """Load an adapter here, and have every replica do so. What is loaded already is left as it is.

        Raises:
            ServiceError: It cannot be loaded, or the store does not answer; then nothing changed.
        """
        async with self._lock:
            loaded, is_new = await self._prepared(name)
            try:
                await self._wishes.add(name, loaded.files.revision)
            except BaseException:
                if is_new:
                    self._leave(loaded)
                raise
            self._publish(loaded)
            return loaded

    async def unload(self, name: str) -> int:
        """Have no replica answer by an adapter any more; gives how many runs it still answers here.

        Raises:
            ServiceError: The store does not answer; then nothing changed.
        """
        async with self._lock:
            self.host()
            await self._wishes.remove(name)
            runs = self._withdraw(name)
            if leaving := [task for each, task in self._leaving.items() if not each.engine.is_used]:
                # Its place is free for the next call, not soon after.
                await asyncio.wait(leaving, timeout=LOAD_SECONDS)
            return runs

    async def follow(self) -> None:
        """Load and unload what is wished for.

        Raises:
            ServiceError: The store does not answer.
        """
        async with self._lock:
            try:
                self._running()
            except (AdaptersOff, ModelNotReady):
                return
            wished = await self._wishes.all()
            for name in {*self._loaded, *self._failed} - wished.keys():
                self._withdraw(name)
            for name, revision in wished.items():
                await self._fulfil(name, revision)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Do so in a beat until the block's end, through any trouble of the store."""
        waits = "adapters are loaded and unloaded when the store answers"
        async with beating(self.follow, "adapters", waits=waits, failed="adapters could not be followed"):
            yield
        for task in list(self._leaving.values()):
            await end_task(task)

    def _running(self) -> tuple[Engine, AdapterHost, Shelf]:
        """The base model's engine, and what loads adapters for it, and from where.

        Another engine than before has none yet.

        Raises:
            ModelNotReady: It does not run.
            AdaptersOff: It takes none.
        """
        if self._shelf is None:
            raise AdaptersOff(self.base_model)
        engine = self._models.running(self.base_model)
        if engine is None or not self._models.is_ready(self.base_model):
            raise ModelNotReady(self.base_model)
        if engine.adapter_host is None:
            raise AdaptersOff(self.base_model)
        if engine is not self._base:
            self._base = engine
            for name in {*self._loaded, *self._failed}:
                self._withdraw(name)
        return engine, engine.adapter_host, self._shelf

    async def _prepared(self, name: str) -> tuple[Loaded, bool]:
        """An adapter as its files are now, loaded; and whether it was not before."""
        engine, host, shelf = self._running()
        files = await asyncio.to_thread(shelf.read, name, host.most_rank)
        known = self._loaded.get(name)
        if known is not None and known.files.revision == files.revision:
            return known, False
        if sum(each.host is host for each in (*self.loaded, *self.leaving)) >= host.most_adapters:
            raise TooManyAdapters(host.most_adapters)
        model = adapter_model(self.base_model, name)
        adapter = Adapter(model, files.revision, next(self._numbers), files.folder)
        loaded = Loaded(files, adapter, AdaptedEngine(engine, adapter), host)
        await self._add(loaded)
        return loaded, True

    async def _add(self, loaded: Loaded) -> None:
        """Have the engine load an adapter. What it began it must not keep when nobody waits for it."""
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await loaded.host.add(loaded.adapter)
        except TimeoutError:
            self._leave(loaded)
            raise AdapterInvalid(loaded.files.name, f"the engine took more than {LOAD_SECONDS:g} s") from None
        except asyncio.CancelledError:
            self._leave(loaded)
            raise

    def _publish(self, loaded: Loaded) -> None:
        """Answer by this adapter what begins from now on."""
        name = loaded.files.name
        self._failed.pop(name, None)
        before = self._loaded.get(name)
        if before is loaded:
            return
        self._loaded[name] = loaded
        served = ServedModel(loaded.adapter.model, is_default=False, base_model=self.base_model)
        served.engine, served.state = loaded.engine, ModelState.READY
        self._models.put(served)
        self._log.info("adapter loaded", adapter=name, revision=loaded.files.revision)
        if before is not None:
            self._leave(before)

    def _withdraw(self, name: str) -> int:
        """Answer by an adapter nothing that begins from now on; gives its runs."""
        self._failed.pop(name, None)
        self._models.remove(adapter_model(self.base_model, name))
        loaded = self._loaded.pop(name, None)
        if loaded is None:
            return sum(each.engine.runs for each in self._leaving if each.files.name == name)
        self._log.info("adapter unloaded", adapter=name, runs=loaded.engine.runs)
        self._leave(loaded)
        return loaded.engine.runs

    def _leave(self, loaded: Loaded) -> None:
        """Have the engine forget an adapter as soon as nobody uses it."""

        async def drain() -> None:
            while loaded.engine.is_used:
                await loaded.engine.wait_until_unused()
            await self._forget(loaded)
            self._leaving.pop(loaded, None)

        self._leaving[loaded] = asyncio.create_task(drain(), name="drain-adapter")

    async def _forget(self, loaded: Loaded) -> None:
        """Have the engine forget an adapter. One that is dead has nothing to forget."""
        loaded.engine.is_gone = True
        with suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(LOAD_SECONDS):
                await loaded.host.remove(loaded.adapter)

    async def _fulfil(self, name: str, revision: str) -> None:
        """Load what another replica loaded, of the same files."""
        known = self._loaded.get(name)
        if known is not None and known.files.revision == revision:
            return
        now = asyncio.get_running_loop().time()
        failed, until = self._failed.get(name, ("", 0.0))
        if failed == revision and now < until:
            return
        try:
            await self._follow_to(name, revision)
        except ServiceError as error:
            # A place may be free in the next beat.
            pause = 0 if isinstance(error, TooManyAdapters) else RETRY_SECONDS
            self._fail(name, revision, error, until=now + pause)

    async def _follow_to(self, name: str, revision: str) -> None:
        loaded, is_new = await self._prepared(name)
        if loaded.files.revision != revision:
            if is_new:
                self._leave(loaded)
            raise AdapterInvalid(name, "its files here are others than those that were loaded elsewhere")
        self._publish(loaded)

    def _fail(self, name: str, revision: str, error: ServiceError, *, until: float) -> None:
        """A wish cannot be fulfilled: who asks for the adapter is told to try again, here or elsewhere."""
        if self._failed.get(name, ("", 0.0))[0] != revision:
            self._log.warning("adapter cannot be loaded", adapter=name, fault=error.message)
        self._withdraw(name)
        self._failed[name] = revision, until
        model = adapter_model(self.base_model, name)
        failed = ServedModel(model, is_default=False, state=ModelState.FAILED, base_model=self.base_model)
        self._models.put(failed)
