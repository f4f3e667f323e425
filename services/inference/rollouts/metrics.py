"""What a replica counts of its rollouts, of all tenants together.

Names of aliases and variants are the tenants' to choose, so variants are told apart by the part that they
play; `CompareRollout` tells of single ones.
"""

from __future__ import annotations

from enum import Enum

from prometheus_client import Counter, Gauge, Histogram

from services.inference.metrics import FIRST_TOKEN_BUCKETS, count_outcomes
from services.inference.rollouts.samples import Sample

RUNNING = Gauge("parley_inference_rollouts_running", "Rollouts whose callers are shared out, of all tenants.")
RUNS = Counter(
    "parley_inference_rollout_runs_total",
    "Runs of variants that showed something, by the variant's part and whether they failed: ok, failed.",
    ["part", "outcome"],
)
CALLS = Counter(
    "parley_inference_rollout_tool_calls_total",
    "Calls of tools in these runs, by the variant's part and whether they failed: ok, failed.",
    ["part", "outcome"],
)
FIRST_TOKEN_SECONDS = Histogram(
    "parley_inference_rollout_first_token_seconds",
    "Time until a run of a variant said something, in seconds.",
    ["part"],
    buckets=FIRST_TOKEN_BUCKETS,
)
ROLLBACKS = Counter(
    "parley_inference_automatic_rollbacks_total", "Rollouts that were rolled back by a guardrail.", ["reason"]
)


class Part(Enum):
    """What a variant is in its rollout."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    SHADOW = "shadow"


def count(part: Part, sample: Sample) -> None:
    """Count what a run of a variant showed."""
    name = part.value
    count_outcomes(RUNS, name, 1, int(sample.failed))
    count_outcomes(CALLS, name, sample.tool_calls, sample.tool_failures)
    if sample.first_token_seconds is not None:
        FIRST_TOKEN_SECONDS.labels(name).observe(sample.first_token_seconds)
