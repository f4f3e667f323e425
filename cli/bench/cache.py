"""What an answer from the cache takes, through the whole path, beside sides that generate it again."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from cli.bench.deadline import within
from cli.bench.figures import Figure
from cli.bench.load import percentile
from cli.bench.place import JsonOption, ModelOption, Place, ServerOption, beside, show_measured
from cli.bench.prompts import bench_question
from cli.bench.sides import TEXT, chat_request
from cli.bench.streams import Ask
from cli.failures import CommandError, told
from parley.inference.v1 import chat_pb2
from parley_client.client import Client

P50_TARGET_MS, P99_TARGET_MS = 4.0, 15.0
QUESTIONS = 10
GENERATED = 50
"""Answers of a side that has none in store, at most: each takes as long as it is generated."""

SECONDS = 900.0


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
    server: ServerOption = True,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Measure answers from the cache, through the edge, beside those that are generated.

    The same questions again, of the whole path and then of the engine alone
    and vLLM's own server, which have the prompts alone in their cache. Starts a stack of its own.
    """
    show_measured(partial(_measure, requests, tokens), model, server=server, as_json=as_json)


async def _measure(requests: int, tokens: int, place: Place) -> AsyncGenerator[Figure, None]:
    async with place.path() as path, within(SECONDS, "answers through the edge"):
        generated = [await _ask(path.client, number, tokens) for number in range(QUESTIONS)]
        again = [await _ask(path.client, number % QUESTIONS, tokens) for number in range(requests)]
    for figure in figures_of(generated, again, tokens):
        yield figure
    ours = percentile([hit.whole for hit in _hits(again)], 0.5)
    for side, start in place.baselines().items():
        async with start() as baseline, within(SECONDS, f"answers of the {side}"):
            await baseline.answers(QUESTIONS, QUESTIONS, tokens)
            taken = await baseline.answers(QUESTIONS, min(requests, GENERATED), tokens)
        for figure in beside(side, f"all {tokens} tokens again, p50", percentile(taken, 0.5), ours):
            yield figure


def _hits(answers: Sequence[Answered]) -> list[Answered]:
    return [answer for answer in answers if answer.state == chat_pb2.CACHE_STATE_HIT]


def figures_of(generated: list[Answered], again: list[Answered], tokens: int) -> list[Figure]:
    """The figures.

    Raises:
        CommandError: What was asked again did not come from the cache.
    """
    hits = _hits(again)
    if not hits:
        raise CommandError(
            "No answer came from the cache.", "See that PARLEY_INFERENCE_CACHE_URL is not empty."
        )
    firsts, wholes = [hit.first for hit in hits], [hit.whole for hit in hits]
    miss = percentile([answer.whole for answer in generated], 0.5)
    return [
        Figure(f"answers from the cache, of {len(again)} asked again", len(hits), ""),
        Figure(f"{tokens} tokens generated, p50", miss),
        Figure("from the cache, to the first text, p50", percentile(firsts, 0.5)),
        Figure("from the cache, to the first text, p99", percentile(firsts, 0.99)),
        Figure(f"from the cache, all {tokens} tokens, p50", percentile(wholes, 0.5), target=P50_TARGET_MS),
        Figure(f"from the cache, all {tokens} tokens, p99", percentile(wholes, 0.99), target=P99_TARGET_MS),
    ]


async def _ask(client: Client, number: int, tokens: int) -> Answered:
    request = chat_request(Ask(bench_question(number), tokens, temperature=0))
    state: chat_pb2.CacheState.ValueType = chat_pb2.CACHE_STATE_UNSPECIFIED
    first = 0.0
    began = time.perf_counter()
    async with client.chat(request) as events:
        async for event in events:
            kind = event.WhichOneof("event")
            if kind == "started":
                state = event.started.cache
            elif kind in TEXT and not first:
                first = time.perf_counter() - began
    return Answered(state, first * 1000, (time.perf_counter() - began) * 1000)
