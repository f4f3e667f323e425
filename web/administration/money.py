"""Money as the contract counts it, and as people write it."""

from __future__ import annotations

from decimal import Decimal

_MICROS = 1_000_000
_NANOS_OF_A_MILLION = 1_000
"""A token's price in billionths is this many times the price of a million tokens."""


def price_text(micros: int) -> str:
    """Millionths of the currency for people, at least to the cent: `1,204.50`, `0.000015`."""
    amount = Decimal(micros) / _MICROS
    places = max(2, -int(amount.normalize().as_tuple().exponent)) if micros else 2
    return f"{amount:,.{places}f}"


def rounded_price(micros: float) -> str:
    """Money to the cent; an amount below one unit to its last digit."""
    whole = round(micros)
    return price_text(round(whole, -4) if whole >= _MICROS else whole)


def to_micros(amount: Decimal | None) -> int | None:
    """An amount in millionths of the currency; smaller parts are dropped."""
    return None if amount is None else int(amount * _MICROS)


def from_micros(micros: int) -> str:
    """Millionths of the currency as a control for numbers takes them."""
    return f"{(Decimal(micros) / _MICROS).normalize():f}"


def to_nanos(amount_per_million: Decimal | None) -> int | None:
    """A price of a million tokens as billionths of the currency for one."""
    return None if amount_per_million is None else int(amount_per_million * _NANOS_OF_A_MILLION)


def from_nanos(nanos: int) -> str:
    """Billionths for one token as the price of a million, as a control for numbers takes it."""
    return f"{(Decimal(nanos) / _NANOS_OF_A_MILLION).normalize():f}"
