"""What a request is held to: limits, whose they are, and what is counted together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# Figures that the store's scripts can hold exactly (their numbers end at 2^53).
MOST_TOKENS = 100_000_000
NANOS_PER_MICRO = 1000


class Dimension(StrEnum):
    """What a limit counts, in the order of the scripts; see `parley.auth.v1.QuotaLimits`."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENT_STREAMS = "concurrent_streams"
    TOKENS_PER_DAY = "tokens_per_day"
    TOKENS_PER_MONTH = "tokens_per_month"
    COST_MICROS_PER_DAY = "cost_micros_per_day"
    COST_MICROS_PER_MONTH = "cost_micros_per_month"

    @property
    def is_money(self) -> bool:
        """Whether it counts money."""
        return self in (Dimension.COST_MICROS_PER_DAY, Dimension.COST_MICROS_PER_MONTH)

    @property
    def is_budget(self) -> bool:
        """Whether it is used up for good until its day or month is over."""
        return self.is_money or self in (Dimension.TOKENS_PER_DAY, Dimension.TOKENS_PER_MONTH)


DIMENSIONS = tuple(Dimension)


@dataclass(frozen=True, slots=True)
class Payer:
    """Who asks, and for what.

    Attributes:
        tenant_id: The tenant that pays.
        user_id: The user who asks.
        key_id: The API key; empty for a login.
        model: The model; empty for a call of a tool alone.
    """

    tenant_id: str
    user_id: str
    key_id: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit.

    Attributes:
        value: How much may be used.
        subject: Whose limit it is, for people: `role/user`, `model/parley-demo`.
    """

    value: int
    subject: str


@dataclass(frozen=True, slots=True)
class Account:
    """What is counted together.

    Attributes:
        name: `user/ID`, `key/ID`, `model/TENANT/NAME` or `tenant/ID`.
        rules: The tightest limit of each kind.
    """

    name: str
    rules: Mapping[Dimension, Rule] = field(default_factory=dict)

    def merged(self, rules: Mapping[Dimension, Rule]) -> Account:
        """The account under these limits too: of two the tighter one counts."""
        tightest = dict(self.rules)
        for dimension, rule in rules.items():
            known = tightest.get(dimension)
            if known is None or rule.value < known.value:
                tightest[dimension] = rule
        return Account(self.name, tightest)


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost, in billionths of the deployment's currency."""

    prompt_nanos: int = 0
    completion_nanos: int = 0

    def micros(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What this many tokens cost, in millionths, rounded up."""
        nanos = prompt_tokens * self.prompt_nanos + completion_tokens * self.completion_nanos
        return -(-nanos // NANOS_PER_MICRO)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request is held to.

    Attributes:
        accounts: What it counts in; none mean no limits.
        price: What its tokens cost.
        nested: A tool asks, for a run that has its place: it spends from the
            same budgets, but waits for no place among those runs, or a run
            could stand in the way of its own tools.
    """

    accounts: tuple[Account, ...] = ()
    price: Price = field(default_factory=Price)
    nested: bool = False

    @property
    def has_budget(self) -> bool:
        """Whether one of the limits is a budget."""
        return any(dimension.is_budget for account in self.accounts for dimension in account.rules)
