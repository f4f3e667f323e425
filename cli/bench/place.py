"""Where a bench runs: its model, a folder that goes with it, and the sides that it starts there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from cli.bench.answering import Side
from cli.bench.figures import Figure, show_figures
from cli.bench.server import VllmServer
from cli.bench.sides import EngineAlone, WholePath
from cli.console import errors
from cli.local.model import choose_local_model
from cli.local.resources import KV_BYTES, runs_on_cpu, share_cores

ModelOption = Annotated[str, typer.Option(help="A model's folder.", metavar="PATH")]
ServerOption = Annotated[bool, typer.Option(help="Measure vLLM's own HTTP server, too.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")]

Start = Callable[[], AbstractAsyncContextManager[Side]]
ENGINE, SERVER = "engine alone", "vLLM's server"


@dataclass(frozen=True)
class Place:
    """Where a bench runs.

    Attributes:
        model: The model's folder.
        name: Its name.
        scratch: A folder that goes when the bench does.
        server: Whether vLLM's own server is one of the sides.
    """

    model: Path
    name: str
    scratch: Path
    server: bool

    def path(
        self, settings: Mapping[str, str] | None = None, **inference: object
    ) -> AbstractAsyncContextManager[WholePath]:
        """Starts the whole path.

        Args:
            settings: Variables of its processes.
            inference: Settings of its inference service.
        """
        errors().print("starting the whole path; this takes a while")
        own = {f"PARLEY_INFERENCE_{name.upper()}": str(value) for name, value in inference.items()}
        return WholePath.started(self.model, self.scratch, {**(settings or {}), **own})

    def baselines(self, *, seats: int = 0, tells: bool = True) -> dict[str, Start]:
        """Starts what the path is compared with, on its settings of the engine.

        Args:
            seats: Requests that the engine has at once; 0 lets it choose.
            tells: Whether the engine alone counts its requests.
        """
        on_cpu = runs_on_cpu()
        threads = share_cores(1)[0].environment() if on_cpu else {}
        engine: dict[str, Any] = {
            "model": str(self.model),
            "name": self.name,
            "kv_cache_bytes": KV_BYTES if on_cpu else None,
            "max_running_requests": seats,
        }
        starts: dict[str, Start] = {
            ENGINE: lambda: EngineAlone.started(engine, threads, self.scratch, tells=tells)
        }
        if self.server:
            starts[SERVER] = lambda: VllmServer.started(engine, threads, self.scratch)
        return starts


@contextmanager
def place(model: str, *, server: bool = True) -> Iterator[Place]:
    """A place for a bench, until the block's end.

    Args:
        model: The model's folder; empty for what the environment names, or the demonstration model.
        server: Whether vLLM's own server is one of the sides.

    Raises:
        CommandError: The model is not on this machine.
    """
    chosen = choose_local_model(model or os.environ.get("PARLEY_INFERENCE_MODEL"))
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        yield Place(Path(chosen.source), chosen.name, Path(scratch), server)


Measure = Callable[[Place], AsyncGenerator[Figure, None]]


def show_measured(measure: Measure, model: str, *, server: bool, as_json: bool) -> None:
    """Measures in a place of its own and shows the figures; those that came before a failure, too."""
    figures = [Figure("load of the machine at the start, over 1 minute", os.getloadavg()[0], "")]

    async def take(there: Place) -> None:
        async with aclosing(measure(there)) as measured:
            # One by one: what came before a failure is kept.
            async for figure in measured:
                figures.append(figure)  # noqa: PERF401

    with place(model, server=server) as there:
        try:
            uvloop.run(take(there))
        finally:
            if len(figures) > 1:
                show_figures(figures, as_json=as_json)


def beside(side: str, name: str, theirs: float, ours: float, unit: str = "ms") -> list[Figure]:
    """A figure of a side, and that of the whole path as a multiple of it."""
    figures = [Figure(f"{side}: {name}", theirs, unit)]
    if theirs > 0:
        figures.append(Figure(f"{side}: {name}, the path to it", ours / theirs, "times"))
    return figures
