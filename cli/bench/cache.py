"""What an answer from the cache takes, through the whole path."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cli.bench.load import percentile
from cli.bench.prompts import bench_question, endless_copy
from cli.bench.sides import WholePath
from cli.console import errors
from cli.failures import CommandError, told
from cli.figures import Figure, show_figures
from cli.model import choose_local_model
from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question

P50_TARGET_MS, P99_TARGET_MS = 4.0, 15.0
QUESTIONS = 10


@dataclass(frozen=True)
class Answered:
    """One answer: where it came from, and its times in milliseconds."""

    state: chat_pb2.CacheState.ValueType
    first: float
    whole: float


@told
def cache(
    requests: Annotated[int, typer.Option(help="Answers from the cache, one after another.", min=10)] = 500,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.", min=2, max=100_000)] = 64,
    model: Annotated[str, typer.Option(help="A model's folder.", metavar="PATH")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Measure answers from the cache, through the edge, beside those that are generated."""
    chosen = choose_local_model(model or os.environ.get("PARLEY_INFERENCE_MODEL"))
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        folder = endless_copy(Path(chosen.source), Path(scratch) / chosen.name)
        figures = uvloop.run(_measure(folder, Path(scratch), requests, tokens))
    show_figures(figures, as_json=as_json)


async def _measure(model: Path, scratch: Path, requests: int, tokens: int) -> list[Figure]:
    errors().print("starting the whole path; this takes a while")
    async with WholePath.started(model, scratch) as path:
        generated = [await _ask(path.client, number, tokens) for number in range(QUESTIONS)]
        again = [await _ask(path.client, number % QUESTIONS, tokens) for number in range(requests)]
    return figures_of(generated, again, tokens)


def figures_of(generated: list[Answered], again: list[Answered], tokens: int) -> list[Figure]:
    """The figures.

    Raises:
        CommandError: What was asked again did not come from the cache.
    """
    hits = [answer for answer in again if answer.state == chat_pb2.CACHE_STATE_HIT]
    if not hits:
        raise CommandError(
            "No answer came from the cache.", "See that PARLEY_INFERENCE_CACHE_URL is not empty."
        )
    firsts, wholes = [hit.first for hit in hits], [hit.whole for hit in hits]
    miss = percentile([answer.whole for answer in generated], 0.5)
    return [
        Figure("load of the machine, over 1 minute", os.getloadavg()[0], ""),
        Figure(f"answers from the cache, of {len(again)} asked again", len(hits), ""),
        Figure(f"{tokens} tokens generated, p50", miss),
        Figure("from the cache, to the first text, p50", percentile(firsts, 0.5)),
        Figure("from the cache, to the first text, p99", percentile(firsts, 0.99)),
        Figure(f"from the cache, all {tokens} tokens, p50", percentile(wholes, 0.5), target=P50_TARGET_MS),
        Figure(f"from the cache, all {tokens} tokens, p99", percentile(wholes, 0.99), target=P99_TARGET_MS),
    ]


async def _ask(client: Client, number: int, tokens: int) -> Answered:
    request = question(bench_question(number), all_tools=False)
    request.sampling.max_output_tokens = tokens
    request.sampling.temperature = 0
    state: chat_pb2.CacheState.ValueType = chat_pb2.CACHE_STATE_UNSPECIFIED
    first = 0.0
    began = time.perf_counter()
    async with client.chat(request) as events:
        async for event in events:
            kind = event.WhichOneof("event")
            if kind == "started":
                state = event.started.cache
            elif kind in ("content_delta", "reasoning_delta") and not first:
                first = time.perf_counter() - began
    return Answered(state, first * 1000, (time.perf_counter() - began) * 1000)
