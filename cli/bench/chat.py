"""`parley bench chat`: the whole path beside the engine alone and vLLM's own server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import uvloop

from cli.bench.answering import Side, by_turns
from cli.bench.load import Comparison
from cli.bench.place import ENGINE, SERVER, JsonOption, ModelOption, Place, ServerOption, place
from cli.console import errors, print_json, print_table
from cli.failures import CommandError, told


@told
def chat(
    streams: Annotated[str, typer.Option(help="Numbers of parallel streams, by commas.")] = "1,16,64",
    rounds: Annotated[
        int, typer.Option(help="Rounds of each; 5 or more for a figure to rely on.", min=1)
    ] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.", min=2, max=100_000)] = 128,
    server: ServerOption = True,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Compare the whole path through the edge with the engine alone and with vLLM's own HTTP server.

    All run the same model on the same settings and cores, in turn: tokens
    per second and time to the first token. Starts a stack of its own.
    """
    workload = Workload(parse_streams(streams), rounds, tokens)
    with place(model, server=server) as there:
        uvloop.run(_compare(there, workload, _show_json if as_json else _show))


def parse_streams(text: str) -> list[int]:
    """The numbers in `1,16,64`.

    Raises:
        CommandError: They are none.
    """
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise CommandError(f"--streams {text} are no numbers above 0.", "Write them like 1,16,64.")
    return numbers


@dataclass(frozen=True)
class Workload:
    """What is measured: every number of streams for so many rounds of so many tokens a stream."""

    numbers: list[int]
    rounds: int
    tokens: int


async def _compare(there: Place, workload: Workload, report: Callable[[list[dict[str, Any]]], None]) -> None:
    """Measures the sides in turn (the machine drifts), and reports before it cleans up."""
    # An engine that counts is slower than one that does not, and the path's own has to.
    starts = there.baselines(tells=False)
    async with AsyncExitStack() as stack:
        errors().print("starting one side after the other; this takes a while")
        sides: dict[str, Side] = {
            "engine": await stack.enter_async_context(starts[ENGINE]()),
            "path": await stack.enter_async_context(there.path()),
        }
        if SERVER in starts:
            sides["server"] = await stack.enter_async_context(starts[SERVER]())
        report(
            [
                Comparison(**await by_turns(sides, number, workload.tokens, workload.rounds)).fields()
                for number in workload.numbers
            ]
        )


def _show_json(results: list[dict[str, Any]]) -> None:
    print_json({"comparisons": results})


def _show(results: list[dict[str, Any]]) -> None:
    columns = ["streams", "side", "tokens/s", "TTFT p50", "TTFT p99", "gap p99", "tokens each", "path to it"]
    rows = []
    for result in results:
        for side, ratio in (("engine", "ratio"), ("server", "ratio_to_server"), ("path", "")):
            if side not in result:
                continue
            figures = result[side]
            times = (f"{figures[name]:.1f} ms" for name in ("ttft_p50_ms", "ttft_p99_ms", "gap_p99_ms"))
            each, of = f"{figures['tokens_per_stream']:.1f}", f"{result[ratio]:.2f}" if ratio else ""
            rows.append([result["streams"], side, f"{figures['tokens_per_second']:.0f}", *times, each, of])
    print_table(columns, rows)
    if sys.stdout.isatty():
        sides = "path: TLS edge, token check, inference service; engine: AsyncLLM alone"
        errors().print(f"{sides}; server: vLLM's own, over HTTP in the clear.", style="dim")
