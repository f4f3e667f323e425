"""Whether a variant is beyond what it is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from parley.inference.v1 import rollout_pb2
from services.inference.rollouts.tally import P95, Tally

MIN_SAMPLES = 50
WINDOW_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured of a variant.

    Attributes:
        guardrail: What it is called.
        value: What was measured.
        samples: By how many runs, calls or feedback.
        is_least: Whether the limit is the least that is good; else it is the most.
    """

    guardrail: rollout_pb2.Guardrail.ValueType
    value: Callable[[Tally], float]
    samples: Callable[[Tally], int]
    is_least: bool = False


ERROR_RATE = Figure(
    rollout_pb2.GUARDRAIL_ERROR_RATE,
    lambda tally: tally.share("errors", "runs"),
    lambda tally: tally.count("runs"),
)
FIRST_TOKEN = Figure(
    rollout_pb2.GUARDRAIL_FIRST_TOKEN_P95,
    lambda tally: tally.first_token(P95),
    lambda tally: tally.count("first.count"),
)
SPEED = Figure(
    rollout_pb2.GUARDRAIL_TOKENS_PER_SECOND,
    lambda tally: tally.moments("speed").mean,
    lambda tally: tally.count("speed.count"),
    is_least=True,
)
TOOL_FAILURES = Figure(
    rollout_pb2.GUARDRAIL_TOOL_FAILURE_RATE,
    lambda tally: tally.share("call_failures", "calls"),
    lambda tally: tally.count("calls"),
)
THUMBS_DOWN = Figure(
    rollout_pb2.GUARDRAIL_THUMBS_DOWN_RATE,
    lambda tally: tally.share("down", "feedback"),
    lambda tally: tally.count("feedback"),
)


def limits(given: rollout_pb2.RolloutGuardrails) -> Iterator[tuple[Figure, float]]:
    """The figures that are limited, and how far."""
    if given.HasField("max_error_rate"):
        yield ERROR_RATE, given.max_error_rate
    if given.HasField("max_first_token_p95"):
        yield FIRST_TOKEN, given.max_first_token_p95.ToTimedelta().total_seconds()
    if given.HasField("min_tokens_per_second"):
        yield SPEED, given.min_tokens_per_second
    if given.HasField("max_tool_failure_rate"):
        yield TOOL_FAILURES, given.max_tool_failure_rate
    if given.HasField("max_thumbs_down_rate"):
        yield THUMBS_DOWN, given.max_thumbs_down_rate


def window_minutes(given: rollout_pb2.RolloutGuardrails) -> int:
    """How many minutes are judged."""
    return given.window.seconds // 60 if given.HasField("window") else WINDOW_MINUTES


def breach(
    given: rollout_pb2.RolloutGuardrails, variant: str, tally: Tally
) -> rollout_pb2.GuardrailBreach | None:
    """The first limit that a variant is beyond, if it is beyond any."""
    least = given.min_samples if given.HasField("min_samples") else MIN_SAMPLES
    for figure, limit in limits(given):
        value, samples = figure.value(tally), figure.samples(tally)
        beyond = value < limit if figure.is_least else value > limit
        if beyond and samples >= least:
            return rollout_pb2.GuardrailBreach(
                guardrail=figure.guardrail, variant_name=variant, value=value, limit=limit, samples=samples
            )
    return None
