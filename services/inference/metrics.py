"""What a replica counts of its runs: how they end, their tokens and tools, how soon they speak and let go."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from prometheus_client import Counter, Gauge, Histogram

from services.inference.reading.step import Delta
from services.inference.rollouts.samples import ENDED_FROM_OUTSIDE, Sample, Watch
from services.inference.runs.events import Finished, FinishReason, RunEvent, RunUsage
from services.rpc.call import current_tenant_class

FIRST_TOKEN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
"""In seconds, of all runs and of those of variants."""

RUNS = Counter("parley_inference_runs_total", "Runs that ended, by model and reason.", ["model", "reason"])
TOKENS = Counter(
    "parley_inference_tokens_total", "Tokens, by model and kind.", ["model", "kind", "tenant_class"]
)
FIRST_TOKEN_SECONDS = Histogram(
    "parley_inference_time_to_first_token_seconds",
    "Time from a prepared run's start to its first delta, in seconds.",
    ["model", "tenant_class"],
    buckets=FIRST_TOKEN_BUCKETS,
)
RELEASE_SECONDS = Histogram(
    "parley_inference_release_seconds",
    "Time from a run's end from outside until what it held, an engine slot or tools, is free, in seconds.",
    ["reason"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
TOKENS_PER_SECOND = Histogram(
    "parley_inference_tokens_per_second",
    "How fast the model spoke in a run that was not of the cache, in tokens a second.",
    ["model"],
    buckets=(1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500),
)
TOOL_CALLS = Counter(
    "parley_inference_tool_calls_total",
    "Calls of the platform's tools in runs, by model and how they ended: ok or failed.",
    ["model", "state"],
)
SPEAKING = Gauge("parley_inference_speaking_streams", "Runs whose model speaks now.")
GATHERED = Counter("parley_inference_gathered_deltas_total", "Deltas that left in an event of one before.")


async def observed(model: str, events: AsyncGenerator[RunEvent, None]) -> AsyncGenerator[RunEvent, None]:
    """The same events, counted. A run whose client leaves before its end counts as cancelled."""
    began, tenant_class = time.perf_counter(), current_tenant_class()
    spoken = False
    usage, reason = RunUsage(), FinishReason.CANCELLED
    watch = Watch()
    try:
        async with aclosing(events):
            async for event in events:
                watch.note(event)
                match event:
                    case RunUsage():
                        usage = event
                    case Finished():
                        reason = event.reason
                        if reason not in ENDED_FROM_OUTSIDE:
                            _count_sample(model, watch.sample(event))
                    case _ if not spoken and isinstance(event, Delta):
                        spoken = True
                        FIRST_TOKEN_SECONDS.labels(model, tenant_class).observe(time.perf_counter() - began)
                yield event
    finally:
        RUNS.labels(model, reason.name).inc()
        _count(model, tenant_class, usage)


def _count(model: str, tenant_class: str, usage: RunUsage) -> None:
    kinds = {
        "prompt": usage.prompt_tokens,
        "cached_prompt": usage.cached_prompt_tokens,
        "completion": usage.completion_tokens,
        "reasoning": usage.reasoning_tokens,
        "reused": usage.reused_tokens,
    }
    for kind, tokens in kinds.items():
        TOKENS.labels(model, kind, tenant_class).inc(tokens)


def _count_sample(model: str, sample: Sample) -> None:
    """Count what a rollout's guardrails judge, of every run."""
    if sample.tokens_per_second is not None:
        TOKENS_PER_SECOND.labels(model).observe(sample.tokens_per_second)
    count_outcomes(TOOL_CALLS, model, sample.tool_calls, sample.tool_failures)


def count_outcomes(counter: Counter, label: str, number: int, failed: int) -> None:
    """Add both outcomes, none too: a share of failures needs a number of them."""
    counter.labels(label, "ok").inc(number - failed)
    counter.labels(label, "failed").inc(failed)
