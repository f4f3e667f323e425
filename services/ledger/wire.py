"""Terms and standings as the ledger's scripts read and write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.ledger.limits import (
    DIMENSIONS,
    NANOS_PER_MICRO,
    Account,
    Dimension,
    Payer,
    Price,
    Rule,
    Terms,
)

# One tag for all: a settlement and its record are one step, so they lie in one slot of a cluster.
PREFIX = "parley:{ledger}:"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a limit stands.

    Attributes:
        subject: Whose limit.
        dimension: What it counts.
        limit: How much may be used.
        left: How much is left; negative where more was used.
        reset: Until nothing of it is used; until it suffices, where it is in
            the way; None where it never does.
    """

    subject: str
    dimension: Dimension
    limit: int
    left: int
    reset: timedelta | None


class Wire:
    """Terms as the scripts read them.

    Attributes:
        terms: The terms.
        keys: Every account's hash and leases; nested ones have places of their own.
        price: Nanos of a token of a prompt and of an answer.
        rules: Every account's seven limits as one text, money in nanos; nothing where there is none.
    """

    def __init__(self, terms: Terms) -> None:
        """Write these down."""
        self.terms = terms
        kinds = ("account", "nested" if terms.nested else "running")
        self.keys = [f"{PREFIX}{kind}:{account.name}" for account in terms.accounts for kind in kinds]
        self.price = (terms.price.prompt_nanos, terms.price.completion_nanos)
        self.rules = [
            "".join(f"{_rule(account, each)}," for each in DIMENSIONS) for account in terms.accounts
        ]
        accounts = [
            [account.name, {name.value: [rule.value, rule.subject] for name, rule in account.rules.items()}]
            for account in terms.accounts
        ]
        self._kept = json.dumps([accounts, list(self.price), terms.nested])

    def with_payer(self, payer: Payer) -> str:
        """What a lease keeps, for whoever finds it expired."""
        who = json.dumps([payer.tenant_id, payer.user_id, payer.key_id, payer.model])
        return f"[{who},{self._kept}]"


def _rule(account: Account, dimension: Dimension) -> int | str:
    rule = account.rules.get(dimension)
    return "" if rule is None else rule.value * _unit(dimension)


def _unit(dimension: Dimension) -> int:
    return NANOS_PER_MICRO if dimension.is_money else 1


def standing(terms: Terms, found: Sequence[bytes]) -> Standing | None:
    """What a script says of a limit."""
    if not found:
        return None
    account, dimension_number, _, left, wait = (int(part) for part in found)
    dimension = DIMENSIONS[dimension_number - 1]
    rule = terms.accounts[account - 1].rules[dimension]
    reset = None if wait < 0 else timedelta(microseconds=wait)
    return Standing(rule.subject, dimension, rule.value, left // _unit(dimension), reset)


def decode(text: bytes) -> tuple[Payer, Terms]:
    """Who asked, and under which terms, as `Wire.with_payer` wrote it."""
    payer, (accounts, price, nested) = json.loads(text)
    read = tuple(
        Account(name, {Dimension(kind): Rule(*rule) for kind, rule in rules.items()})
        for name, rules in accounts
    )
    return Payer(*payer), Terms(read, Price(*price), nested)
