"""A rollout as a form of the page has it: a candidate beside what everybody is given now.

More variants, and their sampling, are the command line's.
"""

from __future__ import annotations

from typing import Any

from parley.inference.v1.rollout_pb2 import RolloutGuardrails, RolloutVariant
from parley.inference.v1.rollout_service_pb2 import CreateRolloutRequest
from web.administration.fields import Fields

STABLE = "stable"
CANDIDATE = "candidate"
WHOLE = 100

BEGINNING: dict[str, Any] = {"candidate_name": CANDIDATE, "callers": "10", "in_the_shadow": "0"}
"""What stands in the form at first."""

_SHARES = ("error_rate", "tool_failure_rate", "thumbs_down_rate")


def creation(fields: Fields) -> CreateRolloutRequest:
    """What is asked for by a form that was sent.

    Raises:
        ParleyError: A field holds no number, or too large a one.
    """
    callers = fields.whole("callers", WHOLE) or 0
    return CreateRolloutRequest(
        name=fields.text("name"),
        variants=[
            RolloutVariant(name=STABLE, model=fields.text("stable_model"), weight=WHOLE - callers),
            RolloutVariant(
                name=fields.text("candidate_name"),
                model=fields.text("candidate_model"),
                weight=callers,
                system_prompt=fields.text("instructions"),
                shadow_percent=fields.whole("in_the_shadow", WHOLE) or 0,
            ),
        ],
        guardrails=_guardrails(fields),
    )


def _guardrails(fields: Fields) -> RolloutGuardrails:
    """What the candidate is held to; what is left empty is not limited."""
    held = RolloutGuardrails(min_samples=fields.whole("min_samples"))
    for name in _SHARES:
        percent = fields.decimal(name)
        if percent is not None:
            setattr(held, f"max_{name}", float(percent) / WHOLE)
    seconds = fields.decimal("first_token_p95")
    if seconds is not None:
        held.max_first_token_p95.FromMilliseconds(round(1000 * seconds))
    speed = fields.decimal("tokens_per_second")
    if speed is not None:
        held.min_tokens_per_second = float(speed)
    return held
