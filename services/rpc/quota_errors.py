"""Refusals of whoever counts what callers use; `services.ledger` raises them in every service alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from parley.policy.v1 import error_reason_pb2
from services.rpc.errors import PolicyError, QuotaViolation

UNAVAILABLE_RETRY = timedelta(seconds=1)


@dataclass(frozen=True)
class Refused:
    """The limit that stands in the way.

    Attributes:
        subject: Whose limit, for example `user/01H…`.
        dimension: What it counts, for example `tokens_per_day`.
        limit: How much may be used.
        remaining: How much is left; too little.
        retry_after: When there is enough again; None where there never is.
        api_service: The service that counts, for example `inference.parley`.
    """

    subject: str
    dimension: str
    limit: int
    remaining: int
    retry_after: timedelta | None
    api_service: str = ""


class QuotaExceeded(PolicyError):
    """A limit stands in the way. Its subclasses say of which kind."""

    def __init__(self, refused: Refused) -> None:
        words = refused.dimension.replace("_", " ")
        again = "wait as long as RetryInfo says" if refused.retry_after else "ask for less, or for more quota"
        message = f"The limit of {refused.limit} {words} of {refused.subject} is in the way: {again}."
        violation = QuotaViolation(
            refused.subject,
            f"{refused.limit} {words}, {refused.remaining} left",
            refused.api_service,
            refused.dimension,
            refused.limit,
        )
        super().__init__(
            message,
            metadata={
                "subject": refused.subject,
                "dimension": refused.dimension,
                "limit": str(refused.limit),
            },
            retry_after=refused.retry_after,
            quota=[violation],
        )
        self.refused = refused

    def trailers(self) -> tuple[tuple[str, str], ...]:
        """`retry-after`, and the limit as `x-ratelimit-*`."""
        own = rate_headers(self.refused.limit, self.refused.remaining, self.refused.retry_after)
        return (*super().trailers(), *own)


class RateLimited(QuotaExceeded):
    """Too many requests, tokens or streams for now."""

    reason = error_reason_pb2.ERROR_REASON_RATE_LIMITED


class BudgetExhausted(QuotaExceeded):
    """A budget of a day or a month has too little left."""

    reason = error_reason_pb2.ERROR_REASON_BUDGET_EXHAUSTED


class QuotaUnavailable(PolicyError):
    """What the caller has left cannot be found out, so nothing more is spent."""

    reason = error_reason_pb2.ERROR_REASON_QUOTA_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__(
            "What you have left cannot be found out now; try again.", retry_after=UNAVAILABLE_RETRY
        )


def rate_headers(limit: int, remaining: int, reset: timedelta | None) -> tuple[tuple[str, str], ...]:
    """A limit as HTTP headers; `reset` in whole seconds, left out where there is none."""
    known = (("x-ratelimit-limit", str(limit)), ("x-ratelimit-remaining", str(max(0, remaining))))
    if reset is None:
        return known
    return (*known, ("x-ratelimit-reset", str(-(-reset // timedelta(seconds=1)))))
